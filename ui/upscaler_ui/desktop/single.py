"""One window for each user: a later start hands over what it was to open, and ends."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QLockFile, QObject
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from upscaler.folders import state_folder

_WAIT = 3000  # milliseconds
_LARGEST = 1 << 20  # bytes of a message


class SingleInstance(QObject):
    """The first start of a user listens, on a socket that only they can open.

    Attributes:
        opened: called when another start has handed over paths, maybe none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: Callable[[list[Path]], None] = lambda paths: None
        folder = state_folder()
        folder.mkdir(parents=True, exist_ok=True)
        self._name = "upscaler-" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self._lock = QLockFile(str(folder / "desktop.lock"))
        self._lock.setStaleLockTime(0)  # stale only when its process is gone
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._connected)

    def is_first(self) -> bool:
        """Whether there is no other window; from now on this one is it."""
        if not self._lock.tryLock(0):
            return False
        QLocalServer.removeServer(self._name)  # what a process that was killed has left
        return self._server.listen(self._name)

    def hand_over(self, paths: Sequence[Path]) -> bool:
        """Let the first one open these; whether it has taken them."""
        message = json.dumps([str(path) for path in paths]).encode() + b"\n"
        until = time.monotonic() + _WAIT / 1000
        while time.monotonic() < until:
            socket = QLocalSocket()
            socket.connectToServer(self._name)
            if socket.waitForConnected(300):
                socket.write(message)
                socket.waitForBytesWritten(_WAIT)
                return socket.waitForReadyRead(_WAIT) and bytes(socket.readAll().data()).strip() == b"ok"
            time.sleep(0.1)  # it may be between its lock and its socket
        return False

    def close(self) -> None:
        """Let another start be the first one."""
        self._server.close()
        self._lock.unlock()

    def _connected(self) -> None:
        socket = self._server.nextPendingConnection()
        socket.readyRead.connect(lambda: self._read(socket))
        socket.disconnected.connect(socket.deleteLater)

    def _read(self, socket: QLocalSocket) -> None:
        if not socket.canReadLine():
            if socket.bytesAvailable() > _LARGEST:
                socket.abort()
            return
        try:
            names = json.loads(bytes(socket.readLine().data()))
            paths = [path for name in names if (path := Path(str(name))).is_absolute() and path.exists()]
        except (ValueError, TypeError):
            socket.abort()
            return
        socket.write(b"ok\n")
        socket.flush()
        self.opened(paths)
