"""Many pictures: which ones, where their results go, and a manifest of what became of each.

The manifest lies in the folder of the results and is written anew after each picture, so that a batch which was killed
goes on where it was. `Arrivals` tells what has come into a folder since the last look.
"""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from .errors import ImageError, UpscalerError
from .folders import fitting, read_object, replace_text
from .pictures.files import SUFFIXES, load
from .text import one_line

MANIFEST = "upscaler-manifest.json"
State = Literal["done", "failed"]

_LIST = ".txt"
_HEAD = 500_000_000  # bytes; larger files are not read to their end to see whether they are complete
_PATIENCE = 60.0  # seconds that a picture stays what it is before it is handed over damaged


@dataclass(frozen=True, slots=True)
class Job:
    """One picture of a batch.

    Attributes:
        source: its file.
        name: how it is called in the batch: its place below the folder that was named, with slashes.
    """

    source: Path
    name: str

    @property
    def version(self) -> list[int] | None:
        """What tells the file from a later one in its place: its size and time; `None` where it is gone."""
        try:
            status = self.source.stat()
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns]


def find_jobs(inputs: Iterable[str], *, recursive: bool = False) -> list[Job]:
    """The pictures that some arguments name: files, the pictures in folders, patterns, and lists in .txt files.

    A list has one file a line, relative to the list's own folder. Each picture comes once, in the order of the arguments
    and then of the names.

    Raises:
        ImageError: there are none, or a list cannot be read.
    """
    found: dict[Path, Job] = {}
    asked = list(inputs)
    for argument in asked:
        for job in _jobs_in(argument, recursive):
            found.setdefault(job.source.absolute(), job)
    if not found:
        hint = "" if recursive else "; use -r for folders inside folders"
        raise ImageError(f"{', '.join(asked)}: no pictures found ({', '.join(SUFFIXES)}){hint}")
    return list(found.values())


def _jobs_in(argument: str, recursive: bool) -> Iterator[Job]:
    path = Path(argument)
    if path.is_dir():
        files = pictures_below(path, recursive=recursive)
        yield from (Job(file, file.relative_to(path).as_posix()) for file in files)
    elif path.suffix.lower() == _LIST and path.is_file():
        yield from _listed(path)
    elif glob.has_magic(argument) and not path.exists():
        yield from (Job(Path(file), Path(file).name) for file in sorted(glob.glob(argument, recursive=recursive)))
    else:
        yield Job(path, path.name)


def _listed(path: Path) -> Iterator[Job]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: this list of pictures cannot be read ({one_line(error)})") from error
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not os.path.isfile(path.parent / line):
            raise ImageError(f"{path}: line {number}, {line[:80]!r}, is not a file; a list has one picture per line")
        if line:
            yield Job(path.parent / line, Path(line).name)


def pictures_below(folder: Path, *, recursive: bool = True) -> Iterator[Path]:
    """The pictures in a folder by name, then those in the folders inside it; without what is hidden."""
    for parent, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if recursive else []
        seen = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in seen if path.suffix.lower() in SUFFIXES and path.is_file())


def stem_of(source: Path, name: str) -> str:
    """What the name of a picture's result begins with: `a`, or `a-jpg` where there is an `a.png` beside `a.jpg`."""
    own = source.suffix.lower()
    others = (form for suffix in SUFFIXES if suffix != own for form in (suffix, suffix.upper()))
    twin = any(source.with_suffix(suffix).is_file() for suffix in others)
    return f"{name}-{own[1:]}" if twin else name


def name_results(jobs: Iterable[Job], ending: str) -> dict[Job, Path]:
    """Where each result goes below the folder of results, no two to one place.

    `a.jpg` becomes `a-large.png` for an ending of `-large.png`; where there is an `a.tif` beside it, `a-jpg-large.png`.
    """
    results: dict[Job, Path] = {}
    taken: set[Path] = set()
    for job in jobs:
        place = Path(job.name)
        stem = stem_of(job.source, place.stem)
        result = place.with_name(fitting(stem, ending))
        number = 2
        while result in taken:
            result = place.with_name(fitting(stem, f"-{number}{ending}"))
            number += 1
        taken.add(result)
        results[job] = result
    return results


class Arrivals:
    """Which pictures are new in folders that are watched, and completely written.

    A picture is handed over when it was the same at two looks and can be read to its end; one that cannot, a minute
    later, so that what is wrong with it is told. One that has changed is another picture.
    """

    def __init__(self, known: Mapping[Path, list[int] | None] | None = None) -> None:
        """With what an earlier one knew, if there was one."""
        self._since: dict[Path, tuple[list[int], float]] = {}  # what is new: its version, and when that was seen first
        self._damaged: dict[Path, list[int]] = {}
        self._known = dict(known or {})

    @property
    def known(self) -> Mapping[Path, list[int] | None]:
        """What has been handed over, by where it lies, in the version that was."""
        return self._known

    def know(self, jobs: Iterable[Job]) -> None:
        """These have been handed over, in some other way."""
        self._known.update((job.source.absolute(), job.version) for job in jobs)

    def look(self, jobs: Iterable[Job]) -> list[Job]:
        """Those of the pictures there now that are new and complete."""
        before, self._since = self._since, {}
        arrived: list[Job] = []
        for job in jobs:
            path, version = job.source.absolute(), job.version
            if version is None or self._known.get(path) == version:
                continue
            seen, since = before.get(path, (None, 0.0))
            self._since[path] = (version, since if seen == version else time.monotonic())
            if seen == version and (self._is_whole(path, version) or time.monotonic() - since > _PATIENCE):
                arrived.append(job)
        self.know(arrived)
        return arrived

    def _is_whole(self, path: Path, version: list[int]) -> bool:
        """Whether a picture can be read to its end; what cannot is read again when it has changed."""
        if self._damaged.get(path) == version:
            return False
        try:
            if version[0] < _HEAD:
                load(path)
        except (UpscalerError, OSError, MemoryError):
            self._damaged[path] = version
            return False
        self._damaged.pop(path, None)
        return True


class Manifest:
    """What became of the pictures of a batch, in a file."""

    def __init__(self, folder: Path) -> None:
        """Of the results in and below `folder`, by their places there; empty where there is none, or something else in its place."""
        self._path = folder / MANIFEST
        pictures = read_object(self._path).get("pictures")
        self._entries = cast("dict[str, dict[str, Any]]", pictures) if isinstance(pictures, dict) else {}

    def state(self, job: Job, output: Path) -> State | None:
        """What became of a picture, if it has not changed since: `done` only while its result is there."""
        entry = self._entries.get(self._key(output))
        if not isinstance(entry, dict) or entry.get("version") != job.version:
            return None
        if entry.get("state") == "done":
            return "done" if output.exists() else None
        return "failed" if entry.get("state") == "failed" else None

    def made(self, path: Path) -> bool:
        """Whether a file is a result of the batch."""
        entry = self._entries.get(self._key(path))
        return isinstance(entry, dict) and entry.get("state") == "done"

    def error(self, output: Path) -> str:
        """Why the picture failed whose result would be there."""
        return str(self._entries[self._key(output)].get("error", ""))

    def mark(self, job: Job, state: State, output: Path, *, error: str = "", seconds: float = 0.0) -> None:
        """Write down what became of a picture.

        Raises:
            OSError: the manifest cannot be written.
        """
        entry: dict[str, Any] = {"state": state, "input": str(job.source), "version": job.version}
        entry |= {"error": error} if error else {"seconds": round(seconds, 1)}
        self._entries[self._key(output)] = entry
        replace_text(self._path, json.dumps({"pictures": self._entries}, indent=1, ensure_ascii=False))

    def _key(self, output: Path) -> str:
        return Path(os.path.relpath(output, self._path.parent)).as_posix()
