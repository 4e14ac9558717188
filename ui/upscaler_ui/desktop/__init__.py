"""The app in a window of its own, with pictures read and written where they lie.

command.py    `upscaler desktop`: starts the window's process; says in one line why there is none, and opens the browser
preflight.py  what is missing for a window
main.py       the window's process: one for each user
  window.py  actions.py  menus.py  bridge.py  memory.py  notify.py    the window; Qt, and nothing of the engine
  child.py    the server's process as the window sees it
serve.py  server.py    the server's process: the app of `upscaler_ui.app`, told by lines on its standard input what to do
  gate.py  page.py  session.py  deliver.py  queue.py                  the server; Gradio and the engine, and nothing of Qt

Where one part tells another something it calls a function: with PySide 6.12 every signal that Python emits takes a reference
to `True` away, and a Python before 3.12 ends the process after some hundreds of them.

A picture's pixels never pass between the processes: the window hands over paths that its user chose, and nothing else can.
"""
