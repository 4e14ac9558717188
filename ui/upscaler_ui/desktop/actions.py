"""What the window does for its user, from the menu, the page, a drop, or another start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QMimeData, QObject, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage, QImageReader
from PySide6.QtWebEngineCore import QWebEngineDownloadRequest
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from upscaler.pictures.files import SUFFIXES

from ..app.system import reveal

if TYPE_CHECKING:
    from .window import Window

_FILTER = f"Pictures ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"
_FORMATS = ";;".join(("PNG (*.png)", "JPEG (*.jpg *.jpeg)", "WebP (*.webp)", "TIFF (*.tif *.tiff)", "AVIF (*.avif)"))
_LAST_RUN = "The settings of the last run"


class Actions(QObject):
    """Everything here asks the server, or shows a dialog of the system and then asks the server."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window
        self._memory = window.memory
        self._server = window.server

    def open(self) -> None:
        """Choose pictures in the dialog of the system."""
        names, _ = QFileDialog.getOpenFileNames(self._window, "Open pictures", self._memory.folder, _FILTER)
        self.take([Path(name) for name in names])

    def open_folder(self) -> None:
        """Choose a folder; all pictures in it and below it are opened."""
        name = QFileDialog.getExistingDirectory(self._window, "Open a folder with pictures", self._memory.folder)
        self.take([Path(name)] if name else [])

    def take(self, paths: list[Path]) -> None:
        """Open these pictures and folders, which the user has chosen in some way."""
        paths = [path.absolute() for path in paths if path.exists()]
        if not paths:
            return
        self._memory.folder = str(paths[0] if paths[0].is_dir() else paths[0].parent)
        self._memory.opened(paths)
        self._window.chosen = paths

        def taken(count: int) -> None:
            if count:
                self._window.look(opened=True)
                self._window.bring_to_front()  # others may have come in front of it since the drop
            else:
                self.complain(f"There is no picture in {paths[0].name}. upscaler opens {', '.join(SUFFIXES)}.")

        self._ask("choose", taken, paths=[str(path) for path in paths])

    def choose_place(self) -> None:
        """Choose the folder for results, or that they lie beside their sources."""
        box = QMessageBox(self._window)
        box.setWindowTitle("Where results go")
        box.setText("Where should results be saved?")
        box.setInformativeText("Nothing is ever overwritten: where a name is taken, a number follows it.")
        beside = box.addButton("&Beside each picture", QMessageBox.ButtonRole.AcceptRole)
        folder = box.addButton("In a &folder…", QMessageBox.ButtonRole.ActionRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        if box.clickedButton() is beside:
            self.set_place(None)
        elif box.clickedButton() is folder:
            start = str(self._memory.place or self._memory.folder)
            name = QFileDialog.getExistingDirectory(self._window, "Folder for results", start)
            if name:
                self.set_place(Path(name))

    def set_place(self, folder: Path | None) -> None:
        """From now on results go into that folder, or beside their sources."""
        self._memory.place = folder
        self._ask("place", lambda _: self._window.look(), folder=str(folder) if folder else None)

    def watch(self) -> None:
        """Choose a folder and a look: what lands in the one is enlarged in the other. With one watched already, end that."""
        if self._memory.watched:
            self._memory.watched = None
            self._ask("stop_watching", lambda _: self._window.look())
            return
        name = QFileDialog.getExistingDirectory(self._window, "Watch a folder", self._memory.folder)
        if name:
            self._ask("looks", lambda found: self._choose_look(Path(name), found["looks"], found["size"]))

    def _choose_look(self, folder: Path, looks: list[tuple[str, str]], size: str) -> None:
        names = {_LAST_RUN: "", **{title: name for name, title in looks}}
        text = f"What is in “{folder.name}”, and what lands there from now on, is enlarged {size}, in this look:"
        title, chosen = QInputDialog.getItem(self._window, f"Watch {folder.name}", text, list(names), 0, False)
        if chosen:
            self._memory.watched = folder, names[title]
            self.go_on_watching()

    def go_on_watching(self) -> None:
        """Watch the folder that the window remembers, if there is one."""
        if self._memory.watched is None:
            return
        folder, look = self._memory.watched

        def failed(sentences: str) -> None:
            self._memory.watched = None
            self.complain(f"“{folder.name}” is not watched any more. {sentences}")

        def begun(title: str) -> None:
            self._window.look()
            self._window.say(f"Watching {folder} ({title or _LAST_RUN.lower()})")

        self._server.call("watch", begun, failed, folder=str(folder), look=look)

    def save_as(self) -> None:
        """Save the result on show under a name; its ending says the format."""

        def found(shown: dict[str, str]) -> None:
            suggestion = shown["saved"] or str(Path(self._memory.folder, shown["name"]))
            name, _ = QFileDialog.getSaveFileName(self._window, "Save the result as", suggestion, _FORMATS)
            if name:
                path = Path(name) if Path(name).suffix else Path(name + Path(shown["name"]).suffix)
                if path != Path(name) and path.exists():
                    self.complain(f"{path.name} already exists; give the name with its ending to replace it.")
                    return
                self._ask("save", lambda path: self._window.say(f"Saved as {path}"), path=str(path))

        self._ask("shown", found)

    def reveal(self) -> None:
        """Show the file of the result on show in its folder."""
        self._ask("shown", lambda shown: reveal(Path(shown["saved"] or shown["result"])))

    def copy(self) -> None:
        """Copy the result on show to the clipboard, as a picture and as a file."""

        def found(path: str) -> None:
            QImageReader.setAllocationLimit(0)
            image = QImage(path)
            if image.isNull():
                self.complain("The picture is too large for the clipboard. Save it instead.")
                return
            data = QMimeData()
            data.setImageData(image)
            QGuiApplication.clipboard().setMimeData(data)
            self._window.say("The picture is on the clipboard.")

        self._ask("png", found)

    def download(self, item: QWebEngineDownloadRequest) -> None:
        """The page hands out a file, such as all results or a preset: ask where it goes."""
        suggestion = str(Path(self._memory.folder, item.downloadFileName()))
        name, _ = QFileDialog.getSaveFileName(self._window, "Save", suggestion)
        if not name:
            item.cancel()
            return
        item.setDownloadDirectory(str(Path(name).parent))
        item.setDownloadFileName(Path(name).name)
        item.isFinishedChanged.connect(lambda: self._window.say(f"Saved as {name}"))
        item.accept()

    def show_log(self) -> None:
        """Open the log in whatever program shows text."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._window.log_file)))

    def complain(self, sentences: str) -> None:
        """Say what went wrong."""
        box = QMessageBox(QMessageBox.Icon.Warning, "upscaler", sentences, parent=self._window)
        box.open()

    def _ask(self, name: str, then: Callable[[Any], None], **arguments: Any) -> None:
        self._server.call(name, then, self.complain, **arguments)
