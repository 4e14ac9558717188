"""Pictures in folders: which of them are sources, which are finished, and which come into a folder that is watched."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from upscaler.batch import Arrivals, pictures_below, stem_of
from upscaler.batch import Job as Found
from upscaler.errors import UpscalerError
from upscaler.folders import read_object, replace_text
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import SUFFIXES, read_settings, suffix_of

from ..app.results import file_name
from .deliver import factor_tag

_LARGEST = 100_000
_POLL = 2.0  # seconds; a file that has not changed for so long is taken for written
_OURS = re.compile(r"(?P<source>.+)-(x\d+(\.\d+)?|\d+x\d+)(-\d+)?")


def sources_below(folder: Path) -> list[Path]:
    """The pictures in a folder and in the folders inside it, by name, without results of ours and what is hidden.

    Raises:
        UpscalerError: there are too many.
    """
    found = list(islice(pictures_below(folder), _LARGEST + 1))
    if len(found) > _LARGEST:
        raise UpscalerError(f"{folder.name}: holds more than {_LARGEST:,} pictures; choose folders inside it")
    stems: dict[Path, set[str]] = {}
    for path in found:
        stems.setdefault(path.parent, set()).add(path.stem)
    return [path for path in found if not _is_result(path.stem, stems[path.parent])]


def result_stem(source: Path, name: str, size: Size, target: Size) -> str:
    """What the result of a picture is called, without its ending."""
    return f"{stem_of(source, file_name(name))}-{factor_tag(size, target)}"


def is_finished(source: Path, result: Path, settings: Settings) -> bool:
    """Whether a result of these settings is there, and not older than its source."""
    try:
        if result.stat().st_mtime < source.stat().st_mtime:
            return False
        stored = read_settings(result)
    except (OSError, UpscalerError):
        return False
    return stored == settings.to_dict() or (stored is None and not settings.output.metadata)


def ending(settings: Settings) -> str:
    """Of the result's file."""
    return suffix_of(settings.output.format)


class Watch:
    """A thread that looks into a folder, and hands over the pictures that have come in and are completely written.

    Each is handed over once, also when the program has been started again in the meantime.

    Args:
        look: the name of the look that they are enlarged in; another one is another watch.
        taken: called with new pictures, in the thread.
        notes: the file that says what was handed over.
        apart: a folder inside whose pictures do not count, such as that of the results; asked at each look.
    """

    def __init__(
        self,
        folder: Path,
        look: str,
        taken: Callable[[list[Path]], None],
        notes: Path,
        apart: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self.folder, self.look = folder, look
        self._taken = taken
        self._notes = notes
        self._apart = apart
        self._over = threading.Event()
        noted = read_object(notes)
        same = (noted.get("folder"), noted.get("look")) == (str(folder), look)
        known = noted.get("known") if same else None
        self._arrivals = Arrivals({Path(path): version for path, version in known.items()} if known else None)
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more; another start goes on from here."""
        self._over.set()

    def end(self) -> None:
        """Look no more, and forget what was handed over."""
        self.stop()
        self._notes.unlink(missing_ok=True)

    def arrivals(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the pictures there now that are new and complete."""
        apart = self._apart()
        there = (Found(path, path.name) for path in paths if apart in (None, self.folder) or apart not in path.parents)
        return [found.source for found in self._arrivals.look(there)]

    def _run(self) -> None:
        while not self._over.wait(_POLL):
            with suppress(UpscalerError, OSError):
                whole = self.arrivals(sources_below(self.folder))
                if whole and not self._over.is_set():
                    self._taken(whole)
                    self._note()

    def _note(self) -> None:
        known = {str(path): version for path, version in self._arrivals.known.items()}
        replace_text(self._notes, json.dumps({"folder": str(self.folder), "look": self.look, "known": known}))


def _is_result(stem: str, stems: set[str]) -> bool:
    found = _OURS.fullmatch(stem)
    if found is None:
        return False
    source = found["source"]
    return source in stems or any(source == f"{stem}-{suffix[1:]}" for stem in stems for suffix in SUFFIXES)
