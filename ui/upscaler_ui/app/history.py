"""What was made, kept on the disk: each result with its original, its settings and small pictures of it.

FOLDER/ID/entry.json   source.EXT   RESULT   thumb.webp   original.EXT   after.EXT or tiles/   FOLDER/.removed/ID
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from upscaler.errors import SettingsError, UpscalerError
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture
from upscaler.text import one_line

from .job import Job
from .results import file_name, save_result
from .views import write_views

_REMOVED = ".removed"
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One result.

    Attributes:
        folder: where all that belongs to it lies.
        name: what its user called the picture.
        made: seconds since 1970.
        complete: False for what was finished of a run that was stopped.
        source, result: names of the original and of the result, inside the folder; an original that is read where it lies
            is named by its absolute path.
        settings: what made it.
        source_size, size: width and height of both.
        seconds: wall time of each stage, by its name.
        joints: each joint after the seam pass: its box, score, limit and yardstick, and whether it is visible, as
            `upscaler.stages.seam_score.Joint` has them.
        notices: what the run had to say.
    """

    folder: Path
    name: str
    made: float
    complete: bool
    source: str
    result: str
    settings: Settings
    source_size: Size
    size: Size
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    joints: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notices: list[str] = field(default_factory=list[str])

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def source_path(self) -> Path:
        return self.folder / self.source

    @property
    def result_path(self) -> Path:
        return self.folder / self.result

    def view(self, name: str) -> Path | None:
        """A picture of the result for the browser, as `views.write_views` wrote it; `None` where it could not be kept.

        Args:
            name: thumb, original, after, or tiles, which is a folder.
        """
        return next(self.folder.glob(f"{name}.*"), None) or next(self.folder.glob(name), None)

    @property
    def bytes(self) -> int:
        """Size of the file with the result; 0 where it is gone."""
        return self.result_path.stat().st_size if self.result_path.is_file() else 0


class History:
    """The results in a folder, newest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Entry | None] = {}  # an entry never changes, so each is read once

    def entries(self) -> list[Entry]:
        """All of them; what cannot be read is left out."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        found = [entry for name in names if (entry := self.get(name)) is not None]
        return sorted(found, key=lambda entry: -entry.made)

    def get(self, id: str) -> Entry | None:
        """The result of that id, which may come from anywhere."""
        if not _ID.fullmatch(id) or not (self.folder / id).is_dir():
            return None
        if id not in self._known:
            self._known[id] = _read(self.folder / id / "entry.json")
        return self._known[id]

    def source_name(self, job: Job) -> str:
        """What the original of a job is called in its entry: the name of a copy there, or a path that is not copied."""
        return f"source{job.source.suffix.lower()}"

    def remove(self, id: str) -> None:
        """Take a result out, with all that belongs to it; `restore` brings it back until the next one is removed."""
        if self.get(id) is None:
            return
        self.forget_removed()
        removed = self.folder / _REMOVED
        removed.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another page was faster
            os.replace(self.folder / id, removed / id)  # at once, so that nobody reads half of it

    def restore(self, id: str) -> bool:
        """Bring back the result that was removed last; returns whether it was that one."""
        if not _ID.fullmatch(id) or not (self.folder / _REMOVED / id).is_dir() or (self.folder / id).exists():
            return False
        os.replace(self.folder / _REMOVED / id, self.folder / id)
        return True

    def forget_removed(self) -> None:
        """Delete for good what was removed."""
        shutil.rmtree(self.folder / _REMOVED, ignore_errors=True)

    def add(self, job: Job, picture: Picture) -> Entry:
        """Write the result of a job, with the settings that it was made with.

        Once the result is written it stays, whatever fails after it.

        Raises:
            ImageError: the result cannot be written.
            UpscalerError: it is written, and the entry is not.
        """
        draft = self.folder / f".{job.id}"
        draft.mkdir(parents=True)
        complete = job.finished is not None
        try:
            stem = f"{file_name(job.name)}-{'large' if complete else 'partial'}"
            result, notices = save_result(picture, draft, stem, job.settings)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        job.notices += notices
        source = self.source_name(job)
        try:
            if draft / source != job.source:
                shutil.copyfile(job.source, draft / source)
            if job.original is not None:
                write_views(draft, picture, job.original)
        except Exception as error:  # a full disk or too little memory, which must not cost the result
            job.notices.append(f"the result is saved, but not all that is shown beside it ({one_line(error)})")
        entry = Entry(
            folder=draft,
            name=job.name,
            made=time.time(),
            complete=complete,
            source=source,
            result=result.name,
            settings=job.settings,
            source_size=job.plan.source if job.plan else picture.size,
            size=picture.size,
            seconds={stage.value: seconds for stage, seconds in job.finished.seconds.items()} if job.finished else {},
            joints=_joints(job),
            notices=list(job.notices),
        )
        try:
            (draft / "entry.json").write_text(_to_json(entry), "utf-8")
        except OSError as error:
            raise UpscalerError(
                f"{result.name}: is saved in the folder {job.id}, but missing in the history ({one_line(error)}); "
                "make room on the disk"
            ) from error
        finally:
            os.replace(draft, self.folder / job.id)
        found = self.get(job.id)
        assert found is not None
        return found


def _to_json(entry: Entry) -> str:
    values = {**asdict(entry), "settings": entry.settings.to_dict()}
    del values["folder"]
    return json.dumps(values)


def _read(path: Path) -> Entry | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        values |= {key: Size(*values[key]) for key in ("source_size", "size")}
        values["settings"] = Settings.from_dict(values["settings"])
        return Entry(folder=path.parent, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SettingsError):
        return None


def _joints(job: Job) -> list[dict[str, Any]]:
    if job.finished is None or job.finished.seams is None:
        return []
    return [
        {
            "box": list(joint.box),
            "score": joint.score,
            "inside": joint.inside,
            "limit": joint.limit,
            "visible": joint.visible,
        }
        for joint in job.finished.seams.after.joints
    ]
