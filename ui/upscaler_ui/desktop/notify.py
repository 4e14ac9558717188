"""What the window tells the system: a message at the end of work, and progress at the program's icon."""

from __future__ import annotations

import sys
from typing import Any

from PySide6.QtCore import QObject
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon

DESKTOP_FILE = "upscaler.desktop"
_SHOWN_FOR = 8000  # milliseconds
_NOTIFICATIONS = "org.freedesktop.Notifications"
_LAUNCHER = "com.canonical.Unity.LauncherEntry"  # Ubuntu's dock, KDE's task bar and others


class Notifier(QObject):
    """Messages by D-Bus on Linux and through the tray elsewhere; nothing where the system has neither.

    desktop-notifier (6.2) would bring a loop of asyncio beside Qt's and a second library for D-Bus, and progress at the icon would
    still be sent from here.
    """

    def __init__(self, parent: QObject, icon: QIcon) -> None:
        super().__init__(parent)
        self.tray = QSystemTrayIcon(icon, self)
        self.tray.setToolTip("upscaler")
        self._bus: Any = None
        self._has_bus = sys.platform == "linux"

    def tell(self, title: str, text: str) -> None:
        """Show a message for some seconds."""
        if sys.platform == "linux":
            body = ("upscaler", 0, "upscaler", title, text, [], {}, _SHOWN_FOR)
            self._send("/org/freedesktop/Notifications", _NOTIFICATIONS, "Notify", "susssasa{sv}i", body)
            return
        self.tray.show()
        self.tray.showMessage(title, text, self.tray.icon(), _SHOWN_FOR)

    def progress(self, fraction: float | None) -> None:
        """Show progress, from 0 to 1, at the program's icon; `None` takes it away."""
        state = {"progress": ("d", float(fraction or 0)), "progress-visible": ("b", fraction is not None)}
        self._send("/upscaler", _LAUNCHER, "Update", "sa{sv}", (f"application://{DESKTOP_FILE}", state))

    def _send(self, path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]) -> None:
        """Send a call that needs no answer, or a signal; the first failure is the last try."""
        if not self._has_bus:
            return
        from jeepney import DBusAddress, MessageFlag, new_method_call, new_signal
        from jeepney.io.blocking import open_dbus_connection

        try:
            if self._bus is None:
                self._bus = open_dbus_connection("SESSION")
            if interface == _LAUNCHER:
                message = new_signal(DBusAddress(path, interface=interface), member, signature, body)
            else:
                address = DBusAddress(path, bus_name=interface, interface=interface)
                message = new_method_call(address, member, signature, body)
                message.header.flags |= MessageFlag.no_reply_expected
            self._bus.send(message)
        except Exception:  # no bus, or one that does not answer: the title tells as much
            self._has_bus = False
