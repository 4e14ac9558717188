"""What macOS is to open: it sends files as events to what it has started, which is the launcher, and not to the program."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QTimer
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

_FIRST = 500  # milliseconds until the files have come that the program was started for
_EACH = 200  # milliseconds between two looks for more of them, and for the end of the program


class Application(QApplication):
    """Takes the files that it is sent, at any time."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(list(arguments))
        self._files: list[str] = []

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QFileOpenEvent):
            self._files.append(event.file())
            return True
        return super().event(event)

    def take(self) -> list[str]:
        """The files that have come since the last call."""
        files, self._files = self._files, []
        return files

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the program with the files that have come, and hand it those that come later; returns its exit code.

        Raises:
            OSError: it cannot be started.
        """
        QTimer.singleShot(_FIRST, self.quit)
        self.exec()
        program = subprocess.Popen([*command, *self.take()], env=environment)
        others: list[subprocess.Popen[bytes]] = []

        def look() -> None:
            others[:] = [other for other in others if other.poll() is None]
            if files := self.take():  # another start, which hands them to the window that there is
                others.append(subprocess.Popen([*command, *files], env=environment))
            if program.poll() is not None:
                self.quit()

        timer = QTimer(self)
        timer.timeout.connect(look)
        timer.start(_EACH)
        self.exec()
        timer.stop()
        if program.poll() is None:  # the user has ended the launcher
            program.terminate()
        return program.wait()
