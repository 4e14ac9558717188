"""The server's process as the window sees it: started, asked, listened to, and ended."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QProcess

_END = 20_000  # milliseconds that the server may take to keep what was finished

Answer = Callable[[Any], None]
Failure = Callable[[str], None]


class Server(QObject):
    """The process of `upscaler_ui.desktop.serve`.

    Attributes:
        ready: called when it serves, with its address, good for one visit.
        told: called with each event of it, see there.
        died: called when it has ended without being asked to, with the reason.
    """

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.ready: Callable[[str], None] = lambda address: None
        self.told: Callable[[dict[str, Any]], None] = lambda event: None
        self.died: Callable[[str], None] = lambda reason: None
        self._log = log
        self._process: QProcess | None = None
        self._waiting: dict[int, tuple[Answer, Failure]] = {}
        self._number = 0
        self._cause = ""

    @property
    def alive(self) -> bool:
        """Whether it can be asked something."""
        return self._process is not None and self._process.state() == QProcess.ProcessState.Running

    def start(self) -> None:
        """Start it; a call of `ready` or `died` follows."""
        self._waiting.clear()
        self._cause = ""
        process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_log)
        process.finished.connect(self._finished)
        process.errorOccurred.connect(self._failed)
        self._process = process
        process.start(sys.executable, ["-m", "upscaler_ui.desktop.serve"])

    def call(self, name: str, then: Answer | None = None, wrong: Failure | None = None, **arguments: Any) -> None:
        """Ask for something; `then` gets the answer, or `wrong` what went wrong in one or two sentences."""
        if not self.alive or self._process is None:
            if wrong is not None:
                wrong("The server is not running.")
            return
        self._number += 1
        self._waiting[self._number] = (then or (lambda value: None), wrong or self._log.warning)
        message = {"number": self._number, "call": name, **arguments}
        self._process.write((json.dumps(message) + "\n").encode())

    def end(self) -> None:
        """Let it stop its jobs and end; returns when it has, or after a while ends it by force."""
        process, self._process = self._process, None
        if process is None or process.state() == QProcess.ProcessState.NotRunning:
            return
        process.finished.disconnect(self._finished)
        process.closeWriteChannel()
        if not process.waitForFinished(_END):
            process.kill()
            process.waitForFinished(2000)

    def _read(self) -> None:
        process = self._process
        while process is not None and process.canReadLine():
            line = bytes(process.readLine().data())
            try:
                message = json.loads(line)
            except ValueError:
                self._log.warning("not a message of the server: %r", line[:200])
                continue
            self._take(message)
            process = self._process

    def _take(self, message: dict[str, Any]) -> None:
        if "answer" in message:
            then, wrong = self._waiting.pop(message["answer"], (None, None))
            if "error" in message:
                (wrong or self._log.warning)(message["error"])
            elif then is not None:
                then(message["value"])
        elif message.get("event") == "ready":
            self.ready(message["address"])
        elif message.get("event") == "failed":
            self._cause = message["error"]
        else:
            self.told(message)

    def _read_log(self) -> None:
        if self._process is not None:
            text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
            for line in filter(None, map(str.strip, text.splitlines())):
                self._log.info("server: %s", line)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read_log()
        self._process = None
        crashed = status == QProcess.ExitStatus.CrashExit
        ended = (
            f"exit code {code}"
            if not crashed
            else "signal 9, as when the memory is full"
            if code == 9
            else f"signal {code}"
        )
        self.died(self._cause or ended)

    def _failed(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and self._process is not None:
            cause, self._process = self._process.errorString(), None
            self.died(cause)
