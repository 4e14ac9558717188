"""What the page may ask of the window: named functions without arguments, so that it can name no path.

They open dialogs in which the user chooses; the page learns of it when the server shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QFile, QIODevice, QObject, QTimer, QUrl, Slot
from PySide6.QtGui import QColor, QDesktopServices
from PySide6.QtWebChannel import QWebChannel
from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile, QWebEngineScript

if TYPE_CHECKING:
    from .actions import Actions

LIGHT, DARK = "#ffffff", "#0f0f11"
"""What is behind the page: the grounds of Gradio's theme."""

_START = """
if (location.hostname === "127.0.0.1" && window.qt && qt.webChannelTransport)
  new QWebChannel(qt.webChannelTransport, (channel) => { window.upscaler = channel.objects.upscaler; });
"""
_DRESS = """
const sheet = new CSSStyleSheet(); // until the theme is there, and for the bars for scrolling, which the theme leaves out
sheet.replaceSync(`
  html { color-scheme: %SCHEMES%; }
  body { background: light-dark(%LIGHT%, %DARK%); color: light-dark(#3f3f46, #d4d4d8); }
  ::-webkit-scrollbar { width: 12px; height: 12px; }
  ::-webkit-scrollbar-thumb { border: 2px solid transparent; border-radius: 6px; background: light-dark(#b4b4bd, #52525b) content-box; }
`);
document.adoptedStyleSheets.push(sheet);
"""


class Bridge(QObject):
    """The functions, as the page sees them in `window.upscaler`."""

    def __init__(self, actions: Actions) -> None:
        super().__init__(actions)
        self._actions = actions

    @Slot()
    def open(self) -> None:
        """Choose pictures."""
        _soon(self._actions.open)

    @Slot()
    def openFolder(self) -> None:  # noqa: N802 - a name of the page's language
        """Choose a folder with pictures."""
        _soon(self._actions.open_folder)

    @Slot()
    def choosePlace(self) -> None:  # noqa: N802
        """Choose where results go."""
        _soon(self._actions.choose_place)

    @Slot()
    def saveAs(self) -> None:  # noqa: N802
        """Save the result on show under a name."""
        _soon(self._actions.save_as)

    @Slot()
    def reveal(self) -> None:
        """Show the result in its folder."""
        _soon(self._actions.reveal)

    @Slot()
    def copy(self) -> None:
        """Copy the result to the clipboard."""
        _soon(self._actions.copy)


def _soon(call: Callable[[], None]) -> None:
    """Call it when the page has its answer: a dialog that opens before that would stop the page."""
    QTimer.singleShot(0, call)


class OwnPage(QWebEnginePage):
    """A page that shows only the app: other addresses open in the browser, and uploads and downloads have no use.

    Attributes:
        home: the address of the server, to which the page stays bound.
    """

    def __init__(self, profile: QWebEngineProfile, parent: QObject) -> None:
        super().__init__(profile, parent)
        self.home = QUrl()

    def bind(self, bridge: Bridge) -> None:
        """Give the app's page the functions of the bridge."""
        channel = QWebChannel(self)
        channel.registerObject("upscaler", bridge)
        self.setWebChannel(channel)
        library = QFile(":/qtwebchannel/qwebchannel.js")
        library.open(QIODevice.OpenModeFlag.ReadOnly)
        self._insert(bytes(library.readAll().data()).decode() + _START)

    def dress(self, theme: str, *, dark: bool) -> None:
        """Let what is loaded from now on be in that theme from its first moment on; white would flash at dark ones."""
        self.setBackgroundColor(QColor(DARK if dark else LIGHT))
        for script in self.scripts().find("theme"):
            self.scripts().remove(script)
        schemes = "light dark" if theme == "system" else theme
        text = _DRESS.replace("%SCHEMES%", schemes).replace("%LIGHT%", LIGHT).replace("%DARK%", DARK)
        self._insert(text, "theme")

    def _insert(self, code: str, name: str = "") -> None:
        """Run this in each page before its own scripts."""
        script = QWebEngineScript()
        script.setName(name)
        script.setSourceCode(code)
        script.setInjectionPoint(QWebEngineScript.InjectionPoint.DocumentCreation)
        script.setWorldId(QWebEngineScript.ScriptWorldId.MainWorld)
        script.setRunsOnSubFrames(False)
        self.scripts().insert(script)

    def acceptNavigationRequest(  # noqa: N802
        self,
        url: QUrl | str,
        type: QWebEnginePage.NavigationType,
        isMainFrame: bool,  # noqa: N803
    ) -> bool:
        url = QUrl(url)
        own = url.scheme() in ("data", "about", "blob") or (url.host(), url.port()) == (
            self.home.host(),
            self.home.port(),
        )
        if not own and isMainFrame and url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)
        return own

    def createWindow(self, type: QWebEnginePage.WebWindowType) -> QWebEnginePage:  # noqa: N802
        """A link that asks for a window of its own."""
        page = _Outside(self)
        page.urlChanged.connect(page.leave)
        return page

    def chooseFiles(self, *arguments: object) -> list[str]:  # noqa: N802
        """The page's own file fields, which the window replaces; only what a preset needs is left."""
        from PySide6.QtWidgets import QFileDialog

        paths, _ = QFileDialog.getOpenFileNames(None, "Open", str(Path.home()))
        return paths


class _Outside(QWebEnginePage):
    def leave(self, url: QUrl) -> None:
        """Open it in the browser instead."""
        if url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)
        self.deleteLater()
