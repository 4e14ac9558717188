"""The app: a web page, and the window that shows it."""
