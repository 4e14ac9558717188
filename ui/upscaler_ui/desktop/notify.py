"""What the window tells the system: a message at the end of work, and progress at the program's icon."""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon

DESKTOP_FILE = "upscaler.desktop"
_SHOWN_FOR = 8000  # milliseconds


class Notifier(QObject):
    """Messages through the tray where there is one, else through D-Bus; nothing where the system has neither."""

    def __init__(self, parent: QObject, icon: QIcon) -> None:
        super().__init__(parent)
        self.tray = QSystemTrayIcon(icon, self)
        self.tray.setToolTip("upscaler")

    def tell(self, title: str, text: str) -> None:
        """Show a message for some seconds."""
        if sys.platform == "linux":
            _dbus_message(title, text)
            return
        shown = self.tray.isVisible()
        self.tray.show()
        self.tray.showMessage(title, text, self.tray.icon(), _SHOWN_FOR)
        if not shown:
            self.tray.messageClicked.connect(self.tray.hide)

    def progress(self, fraction: float | None) -> None:
        """Show progress, from 0 to 1, at the program's icon (GNOME's dock of Ubuntu, KDE); `None` takes it away."""
        if sys.platform != "linux":
            return
        from PySide6.QtDBus import QDBusConnection, QDBusMessage

        bus = QDBusConnection.sessionBus()
        if not bus.isConnected():
            return
        signal = QDBusMessage.createSignal("/upscaler", "com.canonical.Unity.LauncherEntry", "Update")
        state = {"progress": float(fraction or 0), "progress-visible": fraction is not None}
        signal.setArguments([f"application://{DESKTOP_FILE}", state])
        bus.send(signal)


def _dbus_message(title: str, text: str) -> None:
    from PySide6.QtCore import QMetaType
    from PySide6.QtDBus import QDBusArgument, QDBusConnection, QDBusMessage

    bus = QDBusConnection.sessionBus()
    if not bus.isConnected():
        return
    name = "org.freedesktop.Notifications"
    call = QDBusMessage.createMethodCall(name, "/org/freedesktop/Notifications", name, "Notify")
    replaces = QDBusArgument()
    replaces.add(0, QMetaType.Type.UInt.value)
    actions = QDBusArgument()
    actions.beginArray(QMetaType(QMetaType.Type.QString.value))
    actions.endArray()
    call.setArguments(["upscaler", replaces, "upscaler", title, text, actions, {}, _SHOWN_FOR])
    bus.send(call)
