"""The window: the app's page with what belongs to a program around it."""

from __future__ import annotations

import html
import logging
from pathlib import Path
from typing import Any

from PySide6.QtCore import QChildEvent, QEvent, QPoint, QSize, Qt, QTimer, QUrl
from PySide6.QtGui import QCloseEvent, QDropEvent, QGuiApplication
from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QMainWindow, QWidget

from .actions import Actions
from .bridge import Bridge, OwnPage
from .child import Server
from .closing import Closing
from .memory import Memory
from .menus import add_menus, apply_theme
from .notify import Notifier

TITLE = "upscaler"
_SPLASH = Path(__file__).parent / "assets" / "splash.html"
_USUAL = QSize(1360, 900)
_SMALLEST = QSize(480, 480)
_FRAME = 30  # pixels of a title bar


class Window(QMainWindow):
    """The one window of its user.

    Args:
        server: it may be starting already.

    Attributes:
        chosen: what was opened last, for a server that has to be started again.
        state: what the server last said of its jobs.
        log_file: where everything is noted.
    """

    def __init__(self, memory: Memory, server: Server, log: logging.Logger, log_file: Path, paths: list[Path]) -> None:
        super().__init__()
        self.memory, self.log, self.log_file, self.chosen = memory, log, log_file, paths
        self.state: dict[str, Any] = {"busy": 0, "name": "", "fraction": 0.0, "paused": False, "shown": ""}
        self.setWindowTitle(TITLE)
        self.setMinimumSize(_SMALLEST)
        self.server = server
        self.server.ready, self.server.told, self.server.died = self._ready, self._told, self._died
        self.actions_ = Actions(self)
        self.notifier = Notifier(self, QGuiApplication.windowIcon())
        self.notifier.tray.activated.connect(self.bring_to_front)
        self.closing = Closing(self)
        self._address = ""
        self._first = True
        self._make_view()
        add_menus(self)
        self.place()

    def _make_view(self) -> None:
        self.view = _View(self)
        self._profile = QWebEngineProfile(self)  # without a name: keeps nothing on the disk
        self._profile.downloadRequested.connect(self.actions_.download)
        self._page = OwnPage(self._profile, self.view)
        self._page.bind(Bridge(self.actions_))
        self._page.renderProcessTerminated.connect(self._renderer_ended)
        self._page.loadFinished.connect(self._loaded)
        self.view.setPage(self._page)
        self.view.setZoomFactor(self.memory.zoom)
        self.apply_theme()
        self.setCentralWidget(self.view)
        self.splash("Starting…", working=True)

    def apply_theme(self) -> None:
        """Draw the window, and what is loaded into it from now on, in the theme that its user wants."""
        self._page.dress(self.memory.theme, dark=apply_theme(self.memory.theme))

    def splash(self, text: str, *, working: bool = False) -> None:
        """Show a line instead of the app."""
        page = _SPLASH.read_text("utf-8").replace("%TEXT%", html.escape(text))
        self._page.setHtml(page.replace("%WORKING%", "" if working else "hidden"))

    def load(self) -> None:
        """Load the page from the server again."""
        if self.server.alive:
            self.server.call("address", self._go_to)

    def look(self, *, opened: bool = False) -> None:
        """Let the page show what has changed, such as pictures that were opened; while it is being loaded it does so by itself."""
        detail = str(opened).lower()
        self._page.runJavaScript(f"window.dispatchEvent(new CustomEvent('upscaler-look', {{ detail: {detail} }}))")

    def press(self, id: str) -> None:
        """Press one of the page's own buttons: run, pause or stop."""
        self._page.runJavaScript(f"(b => b && !b.disabled && b.click())(document.querySelector('button#{id}'))")

    def say(self, text: str) -> None:
        """Tell that something was done, for some seconds, below the page."""
        self.statusBar().show()
        self.statusBar().showMessage(text)
        QTimer.singleShot(6000, self.statusBar().hide)

    def open(self, paths: list[Path]) -> None:
        """Another start has handed these over, or the system has."""
        self.bring_to_front()
        self.actions_.take(paths)

    def bring_to_front(self, *_: object) -> None:
        """Show the window before all others."""
        self.closing.stay()
        self.notifier.tray.hide()
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def place(self) -> None:
        """Take place, size and zoom of the last time, or a size that fits the screen."""
        if self.restoreGeometry(self.memory.geometry) and self._reachable():
            screen = self.screen().availableGeometry()
            self.resize(self.size().boundedTo(screen.size() - QSize(0, _FRAME)))
        else:
            screen = QGuiApplication.primaryScreen().availableGeometry()
            self.resize(_USUAL.boundedTo(screen.size() * 0.92))
            self.move(screen.center() - self.rect().center() - QPoint(0, _FRAME // 2))

    def remember(self) -> None:
        """Keep place, size and zoom for the next time."""
        self.memory.geometry = self.saveGeometry()
        self.memory.zoom = self.view.zoomFactor()
        self.memory.write()

    def _reachable(self) -> bool:
        """Whether enough of the title lies on a screen to take hold of it."""
        title = self.geometry().adjusted(0, -20, 0, 0)
        title.setHeight(60)
        for screen in QGuiApplication.screens():
            seen = screen.availableGeometry().intersected(title)
            if seen.width() >= 150 and seen.height() >= 20:
                return True
        return False

    def zoom_by(self, factor: float) -> None:
        """Zoom the page by a factor; 0 is its usual size."""
        self.view.setZoomFactor(min(max(self.view.zoomFactor() * factor, 0.5), 3.0) if factor else 1.0)

    def toggle_full_screen(self) -> None:
        """The whole screen, or not."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        self.closing.asked(event)

    def _ready(self, address: str) -> None:
        self.server.call("place", folder=str(self.memory.place) if self.memory.place else None)
        self.actions_.go_on_watching()
        if self.chosen:
            self.actions_.take(self.chosen)
        self.server.call("unfinished", self.closing.offer_to_go_on)
        self._go_to(address)

    def _go_to(self, address: str) -> None:
        self._address = address
        self._page.home = QUrl(address)
        theme = self.memory.theme
        self._page.load(QUrl(address if theme == "system" else f"{address}&__theme={theme}"))

    def _loaded(self, ok: bool) -> None:
        self.view.setZoomFactor(self.memory.zoom if self._first else self.view.zoomFactor())
        if self._page.url().host():
            self._first = False
        if not ok and self._page.url().host() and self.server.alive:
            QTimer.singleShot(500, self.load)

    def _told(self, event: dict[str, Any]) -> None:
        if event.get("event") == "state":
            begun = event["busy"] and not self.state["busy"]
            self.state = event
            if begun:  # the page knows nothing of what the watch has begun
                self.look()
            self._show_progress()
            self.closing.state_changed()
        elif event.get("event") == "over" and not event["area"]:
            self.log.info("%s: %s %s%s", event["name"], event["state"], event["saved"], event["cause"])
            if event["state"] != "stopped" and (not self.isActiveWindow() or not self.isVisible()):
                text = f"Saved as {Path(event['saved']).name}" if event["saved"] else event["cause"]
                self.notifier.tell(f"{event['name']} {event['state']}", text)

    def _show_progress(self) -> None:
        busy, fraction = self.state["busy"], float(self.state["fraction"])
        if not busy:
            self.setWindowTitle(TITLE)
            self.notifier.progress(None)
            return
        more = f" (and {busy - 1} more)" if busy > 1 else ""
        paused = "Paused - " if self.state["paused"] else ""
        self.setWindowTitle(f"{paused}{fraction:.0%} - {self.state['name'] or 'loading'}{more} - {TITLE}")
        self.notifier.progress(fraction)

    def _died(self, cause: str) -> None:
        self.log.error("the server ended: %s", cause)
        self.state = {**self.state, "busy": 0, "paused": False}
        self._show_progress()
        self.splash("")  # the question is before it
        self.closing.server_died(cause)

    def _renderer_ended(self, status: QWebEnginePage.RenderProcessTerminationStatus, code: int) -> None:
        self.log.error("the page's process ended: %s %s", status, code)
        QTimer.singleShot(300, self.load)


class _View(QWebEngineView):
    """The page, on which files are dropped by their paths."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window
        self._dragged: list[Path] = []

    def childEvent(self, event: QChildEvent) -> None:  # noqa: N802
        """The engine's own widget inside takes drops for itself, and would load the file."""
        super().childEvent(event)
        child = event.child()
        if event.type() == QEvent.Type.ChildPolished and isinstance(child, QWidget):
            child.setAcceptDrops(False)

    def event(self, event: QEvent) -> bool:
        """Files that are dragged over the page are taken when they are dropped; not every program gives them again then."""
        if isinstance(event, QDropEvent):
            self._dragged = _dropped(event) or (self._dragged if event.type() == QEvent.Type.Drop else [])
            if self._dragged:
                event.setDropAction(Qt.DropAction.CopyAction)  # never "move": the other program would delete the file
                event.accept()
                if event.type() == QEvent.Type.Drop:
                    self._window.actions_.take(self._dragged)
                return True
        return super().event(event)


def _dropped(event: QDropEvent) -> list[Path]:
    """The files of this machine that are being dropped."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
