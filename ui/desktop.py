"""The app in a window of its own, drawn by the web engine of the system."""

from __future__ import annotations

TITLE = "upscaler"


def show_window(url: str) -> str | None:
    """Show the app and come back when its window is closed; or say why there cannot be a window."""
    try:
        import webview
    except ImportError:
        return "pywebview is not installed; run: pip install 'upscaler[desktop]'"
    try:
        webview.settings["ALLOW_DOWNLOADS"] = True
        webview.create_window(TITLE, url, width=1360, height=900, min_size=(390, 600))
        webview.start()
    except Exception as error:  # every engine fails in its own way, and the browser is there
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
