"""Jobs on the disk, so that no end of the program loses what was begun: the picture, the settings, and how far it is.

FOLDER/RUN/lock      held as long as the program runs whose jobs lie there
FOLDER/RUN/ID/       draft.json, the picture and the mask of a job that is not over

What lies there without a program is what a crash has left. The next start takes it over.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import numpy as np

from upscaler.arrays.types import Array
from upscaler.errors import ImageError, UpscalerError
from upscaler.folders import read_object, replace_text
from upscaler.options.settings import Settings

from .job import Job

_NOTE, _MASK, _LOCK = "draft.json", "mask.npy", "lock"
_EVERY = 3.0  # seconds between two notes of how far a job is


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A job that is not over, or that was not when its program ended.

    Attributes:
        id: that of the job.
        begun: in seconds since 1970.
        source: the picture, which is this draft's own.
        mask: as in `Job`.
        fraction: how much was finished, 0 to 1; `None` where nothing is kept, and the job begins anew.
        kept: the name of its progress, as in `Job.kept`; empty where there is none.
    """

    id: str
    name: str
    begun: float
    source: Path
    settings: Settings
    mask: Array | None = None
    fraction: float | None = None
    kept: str = ""


class Drafts:
    """The drafts of one user."""

    def __init__(self, folder: Path, is_finished: Callable[[str], bool]) -> None:
        """
        Args:
            is_finished: whether the result of the job of that id is written, so that its draft is of no use.
        """
        self._folder, self._own = folder, folder / secrets.token_hex(8)
        self._held: filelock.FileLock | None = None
        self._begun: dict[str, float] = {}  # in seconds since 1970, by the id of the job
        self._noted = 0.0
        self._lock = threading.Lock()
        self._left: dict[str, Draft] = {}
        with suppress(OSError):  # then there is nothing to go on with, and new jobs say what is wrong
            self._take_over(is_finished)

    @property
    def left(self) -> list[Draft]:
        """What earlier programs did not finish, and nobody has gone on with or dropped."""
        return list(self._left.values())

    def begin(self, job: Job) -> Path:
        """Note a job; returns the folder for its picture, which `over` removes."""
        self._hold()
        place = self._own / job.id
        place.mkdir()
        self._begun[job.id] = time.time()
        if job.mask is not None:
            np.save(place / _MASK, job.mask)
        self._write(job, place)
        return place

    def note(self, job: Job) -> None:
        """Note how far it is, now and then."""
        now = time.monotonic()
        if job.kept is None or not job.worth_keeping or now - self._noted < _EVERY:  # what is enlarged is not kept
            return
        self._noted = now
        with suppress(OSError):  # a full disk is no reason to end the run
            self._write(job, self._own / job.id)

    def over(self, job: Job) -> None:
        """It is not left behind, whatever has become of it, unless it is for the next start."""
        if job.left and job.error is None and job.finished is None:
            return
        self._begun.pop(job.id, None)
        shutil.rmtree(self._own / job.id, ignore_errors=True)

    def forget(self, id: str) -> Draft | None:
        """Drop what is left of that job; returns it as it was."""
        draft = self._left.pop(id, None)
        if draft is not None:
            shutil.rmtree(draft.source.parent, ignore_errors=True)
        return draft

    def close(self) -> None:
        """The program ends. What is left stays for the next one."""
        if self._held is not None:
            self._held.release()
            with suppress(OSError):  # the next program has taken it over already
                if not any(path.is_dir() for path in self._own.iterdir()):
                    shutil.rmtree(self._own)

    def _write(self, job: Job, place: Path) -> None:
        far = (
            {"fraction": job.forecast.fraction, "kept": job.kept.name}
            if job.kept and job.forecast and job.worth_keeping
            else {}
        )
        far["begun"] = self._begun[job.id]
        about = {"name": job.name, "source": job.source.name, "settings": job.settings.to_dict(), **far}
        replace_text(place / _NOTE, json.dumps(about))

    def _take_over(self, is_finished: Callable[[str], bool]) -> None:
        """Move what programs that have ended left behind into the own folder."""
        for run in self._folder.iterdir() if self._folder.is_dir() else ():
            lock = filelock.FileLock(run / _LOCK, timeout=0)
            try:
                lock.acquire()
            except (filelock.Timeout, OSError):
                continue  # it still runs
            for place in run.iterdir():
                draft = None if is_finished(place.name) else _read(place)
                if draft is not None:
                    self._hold()
                    os.replace(place, self._own / place.name)
                    self._left[draft.id] = replace(draft, source=self._own / place.name / draft.source.name)
            shutil.rmtree(run, ignore_errors=True)
            lock.release()
        self._left = dict(sorted(self._left.items(), key=lambda item: item[1].begun))

    def _hold(self) -> None:
        """Have the own folder, and the lock in it; another program that starts just now may take it for one that was left."""
        with self._lock:
            while self._held is None or not (self._own / _LOCK).exists():
                self._own.mkdir(parents=True, exist_ok=True)
                self._held = filelock.FileLock(self._own / _LOCK)
                with suppress(OSError):
                    self._held.acquire()


def _read(place: Path) -> Draft | None:
    """The draft in a folder; `None` where there is none, or the rest of one."""
    about = read_object(place / _NOTE)
    try:
        fraction = about.get("fraction")
        found = Draft(
            id=place.name,
            name=str(about["name"]),
            begun=float(about["begun"]),
            source=place / Path(about["source"]).name,
            settings=Settings.from_dict(about["settings"]),
            mask=np.load(place / _MASK) if (place / _MASK).is_file() else None,
            fraction=None if fraction is None else float(fraction),
            kept=str(about.get("kept", "")),
        )
    except (OSError, TypeError, KeyError, ValueError, AttributeError, UpscalerError):  # of another version
        return None
    return found if found.source.is_file() else None


def hold(path: Path, folder: Path) -> Path:
    """The file under another path, in that folder, so that it stays when the first one goes.

    Raises:
        ImageError: it is gone already.
    """
    held = folder / path.name
    try:
        try:
            os.link(path, held)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, held)
    except OSError as error:
        raise ImageError(f"{path.name}: is no longer there; choose it again") from error
    return held
