"""The window's process: `python -m upscaler_ui.desktop.main [PATH ...]`, started by `command`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QFileOpenEvent, QIcon
from PySide6.QtWidgets import QApplication

from upscaler.folders import state_folder

from .child import Server
from .command import HANDED_OVER, UP
from .memory import Memory
from .notify import DESKTOP_FILE
from .single import SingleInstance

if TYPE_CHECKING:
    from .window import Window

_ICON = Path(__file__).parent / "assets" / "icon.svg"
_LOG_BYTES, _LOGS = 1_000_000, 3
_QUIET = "--disable-quic --disable-background-networking --disable-component-update --disable-features=Vulkan"


class Application(QApplication):
    """The program, to which macOS sends the files that it is to open."""

    opened: Callable[[list[Path]], None] | None = None

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QFileOpenEvent) and self.opened is not None:
            self.opened([Path(event.file())])
            return True
        return super().event(event)


def main() -> int:
    """Show the window until it is closed, or hand the paths to the one that there is."""
    paths = [Path(name) for name in sys.argv[1:]]
    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = f"{os.environ.get('QTWEBENGINE_CHROMIUM_FLAGS', '')} {_QUIET}".strip()
    Application.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)  # before the web engine, which wants it
    application = Application(["upscaler"])
    application.setApplicationName("upscaler")
    application.setDesktopFileName(DESKTOP_FILE.removesuffix(".desktop"))
    application.setWindowIcon(QIcon(str(_ICON)))
    if sys.platform == "linux":  # where Qt puts pictures of its own on OK and Cancel
        application.setStyleSheet("QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }")
    application.setQuitOnLastWindowClosed(False)
    single = SingleInstance()
    if not single.is_first():
        if not single.hand_over(paths):
            print("another upscaler is running and does not answer; end it and start again", file=sys.stderr)
            return 1
        _say(HANDED_OVER)
        return 0
    log, log_file = _logger()
    server = Server(log)
    server.start()  # it takes the longest; the web engine comes up meanwhile
    from .window import Window

    sys.excepthook = partial(_note, log)  # not before: what says that there is no window goes to standard error
    window = Window(Memory(), server, log, log_file, paths)
    single.opened = application.opened = window.open
    _listen_to_signals(application, window)
    window.show()
    window.view.loadFinished.connect(_up)  # the web engine has drawn something
    code = application.exec()
    single.close()
    return code


def _up(*_: object) -> None:
    _say(UP)


def _say(word: str) -> None:
    try:
        print(word, flush=True)
    except OSError:  # nobody listens any more
        return


def _logger() -> tuple[logging.Logger, Path]:
    """The log of window and server, of which the last few megabytes are kept."""
    path = state_folder() / "desktop.log"
    log = logging.getLogger("upscaler.desktop")
    log.setLevel(logging.INFO)
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOGS, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return log, path


def _note(log: logging.Logger, kind: type[BaseException], error: BaseException, trace: object) -> None:
    log.error("a mistake of ours", exc_info=error)


def _listen_to_signals(parent: QObject, window: Window) -> None:
    """Ctrl-C and SIGTERM end the program in order: the jobs are stopped, and the queue is kept."""

    def end(*_: object) -> None:
        window.closing.end_now()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    timer = QTimer(parent)  # Python handles signals between its own statements only
    timer.timeout.connect(lambda: None)
    timer.start(250)


if __name__ == "__main__":
    sys.exit(main())
