"""Many pictures: which ones, where their results go, and a manifest of what became of each.

The manifest lies in the folder of the results and is written anew after each picture, so that a batch which was killed
goes on where it was.
"""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from .errors import ImageError
from .folders import fitting, read_object, replace_text
from .pictures.files import SUFFIXES
from .text import one_line

MANIFEST = "upscaler-manifest.json"
State = Literal["done", "failed"]

_LIST = ".txt"


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
        inside = path.rglob("*") if recursive else path.iterdir()
        files = sorted(file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file())
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
            raise ImageError(f"{path}: line {number}, {line[:80]!r}, is not a file; a list has one picture a line")
        if line:
            yield Job(path.parent / line, Path(line).name)


def name_results(jobs: Sequence[Job], ending: str) -> dict[Job, Path]:
    """Where each result goes below the folder of results, no two to one place.

    `a.jpg` becomes `a-large.png` for an ending of `-large.png`; where there is an `a.tif` beside it, `a-jpg-large.png`.
    """
    plain = Counter(_without_suffix(job) for job in jobs)
    results: dict[Job, Path] = {}
    taken: set[Path] = set()
    for job in jobs:
        base = _without_suffix(job)
        if plain[base] > 1:
            base = base.with_name(f"{base.name}-{job.source.suffix[1:].lower()}")
        result = base.with_name(fitting(base.name, ending))
        number = 2
        while result in taken:
            result = base.with_name(fitting(base.name, f"-{number}{ending}"))
            number += 1
        taken.add(result)
        results[job] = result
    return results


def _without_suffix(job: Job) -> Path:
    return Path(job.name).with_suffix("")


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
