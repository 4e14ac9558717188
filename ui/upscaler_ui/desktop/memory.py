"""What the window remembers from start to start, in a small file in the folder of the program's state."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from upscaler.folders import state_folder

_RECENT = 12


class Memory:
    """Values of any kind that are missing or wrong read as what a first start has."""

    def __init__(self) -> None:
        state_folder().mkdir(parents=True, exist_ok=True)
        self._file = QSettings(str(state_folder() / "desktop.ini"), QSettings.Format.IniFormat)

    @property
    def geometry(self) -> QByteArray:
        """Place and size of the window, as Qt packs them."""
        value = self._file.value("geometry")
        return value if isinstance(value, QByteArray) else QByteArray()

    @geometry.setter
    def geometry(self, value: QByteArray) -> None:
        self._file.setValue("geometry", value)

    @property
    def zoom(self) -> float:
        """Of the page, 0.5 to 3."""
        try:
            return min(max(float(str(self._file.value("zoom", 1.0))), 0.5), 3.0)
        except ValueError:
            return 1.0

    @zoom.setter
    def zoom(self, value: float) -> None:
        self._file.setValue("zoom", value)

    @property
    def theme(self) -> str:
        """system, light or dark."""
        value = str(self._file.value("theme", "system"))
        return value if value in ("light", "dark") else "system"

    @theme.setter
    def theme(self, value: str) -> None:
        self._file.setValue("theme", value)

    @property
    def place(self) -> Path | None:
        """The folder for results; `None` is beside each source."""
        value = str(self._file.value("place", ""))
        return Path(value) if value and Path(value).is_dir() else None

    @place.setter
    def place(self, value: Path | None) -> None:
        self._file.setValue("place", str(value or ""))

    @property
    def watched(self) -> tuple[Path, str] | None:
        """The folder that is watched, and the name of the look for it, "" for the settings of the last run."""
        folder = str(self._file.value("watched", ""))
        return (Path(folder), str(self._file.value("watched-look", ""))) if folder else None

    @watched.setter
    def watched(self, value: tuple[Path, str] | None) -> None:
        folder, look = value or ("", "")
        self._file.setValue("watched", str(folder))
        self._file.setValue("watched-look", look)

    @property
    def folder(self) -> str:
        """Where the dialogs begin."""
        value = str(self._file.value("folder", ""))
        return value if value and Path(value).is_dir() else str(Path.home())

    @folder.setter
    def folder(self, value: str) -> None:
        self._file.setValue("folder", value)

    @property
    def recent(self) -> list[Path]:
        """Pictures and folders that were opened and still exist, the latest first."""
        value = self._file.value("recent", [])
        names = value if isinstance(value, list) else [value]
        return [path for name in names if name and (path := Path(str(name))).exists()]

    def opened(self, paths: list[Path]) -> None:
        """Put these first in what was opened."""
        found = dict.fromkeys([*paths[:_RECENT], *self.recent])
        self._file.setValue("recent", [str(path) for path in found][:_RECENT])

    def forget_recent(self) -> None:
        """Forget what was opened."""
        self._file.setValue("recent", [])

    def write(self) -> None:
        """Bring it to the disk now."""
        self._file.sync()
