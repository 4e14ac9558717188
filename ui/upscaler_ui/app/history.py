"""What was made, kept on the disk: each result with its original, its settings and small pictures of it.

FOLDER/ID/entry.json   source.EXT   RESULT   thumb.webp   before.EXT   after.EXT   overview.EXT   original.EXT
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from upscaler.errors import ImageError, SettingsError, UpscalerError
from upscaler.geometry import Box, Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import SUFFIX, check_output, load, save
from upscaler.pictures.picture import Picture
from upscaler.text import one_line

from .jobs import Job
from .pictures import WHOLE_PIXELS, decoded, enlarged_part, fitted, reduced, whole

_THUMB = 256
_OVERVIEW = 1024
_PART = 1000
_JPEG: dict[str, Any] = {"quality": 95, "subsampling": 0}
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One result.

    Attributes:
        folder: where all that belongs to it lies.
        name: what its user called the picture.
        made: seconds since 1970.
        complete: False for what was finished of a run that was stopped.
        source, result: names of the original and of the result, inside the folder.
        settings: what made it, as of `Settings.to_dict`.
        source_size, size: width and height of both.
        seconds: wall time of each stage, by its name.
        joints: box, score and yardstick of each joint, after the seam pass; see `upscaler.seams.Joint`.
        notices: what the run had to say.
    """

    folder: Path
    name: str
    made: float
    complete: bool
    source: str
    result: str
    settings: dict[str, dict[str, Any]]
    source_size: Size
    size: Size
    seconds: dict[str, float] = field(default_factory=dict)
    joints: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

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
        """A small picture of the result, as a file for the browser; `None` where it could not be kept.

        Args:
            name: thumb; overview, to point at places in it, and original, which is the original at its size; after, and
                before, which is the original enlarged to its size.
        """
        return next(self.folder.glob(f"{name}.*"), None)

    def parts(self, point: Sequence[float] | None) -> tuple[Pillow.Image, Pillow.Image]:
        """What is around a point of the overview (default: the middle) in full size: enlarged original, and result.

        Raises:
            ImageError: a file of this entry is gone.
        """
        x = y = 0.5
        if point is not None:
            small = fitted(self.size, _OVERVIEW)
            x, y = point[0] / small.width, point[1] / small.height
        width, height = (min(_PART, length) for length in self.size)
        left = min(max(round(x * self.size.width - width / 2), 0), self.size.width - width)
        top = min(max(round(y * self.size.height - height / 2), 0), self.size.height - height)
        box = Box(left, top, left + width, top + height)
        after = decoded(self.result_path).crop(box)
        return _like(after, enlarged_part(decoded(self.source_path), self.size, box)), after


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

    def remove(self, id: str) -> None:
        """Delete a result and all that belongs to it."""
        if self.get(id) is not None:
            gone = self.folder / f".{secrets.token_hex(8)}"
            with suppress(FileNotFoundError):  # another page was faster
                os.replace(self.folder / id, gone)  # at once, so that nobody reads half of it
            shutil.rmtree(gone, ignore_errors=True)
            decoded.cache_clear()

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
        source = draft / f"source{job.source.suffix.lower()}"
        try:
            shutil.copyfile(job.source, source)
            if job.original is not None:
                _write_views(draft, picture, job.original)
        except Exception as error:  # a full disk or too little memory, which must not cost the result
            job.notices.append(f"the result is saved, but not all that is shown beside it ({one_line(error)})")
        entry = Entry(
            folder=draft,
            name=job.name,
            made=time.time(),
            complete=complete,
            source=source.name,
            result=result.name,
            settings=job.settings.to_dict(),
            source_size=job.plan.source if job.plan else picture.size,
            size=picture.size,
            seconds={stage.value: seconds for stage, seconds in job.finished.seconds.items()} if job.finished else {},
            joints=_joints(job),
            notices=list(job.notices),
        )
        values = {key: value for key, value in asdict(entry).items() if key != "folder"}
        try:
            (draft / "entry.json").write_text(json.dumps(values), "utf-8")
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


def save_result(picture: Picture, folder: Path, stem: str, settings: Settings) -> tuple[Path, tuple[str, ...]]:
    """The new file with the result, written as the settings ask, and notices.

    What the chosen format cannot hold is written as PNG, rather than lost.
    """
    notices: tuple[str, ...] = ()
    out = settings.output.for_save
    for format in dict.fromkeys((settings.output.format, "png")):
        path = folder / f"{stem}{SUFFIX[format]}"
        try:
            return path, notices + save(picture, path, settings_json=settings.to_json(), **{**out, "format": format})
        except ImageError as error:
            if format == "png":
                raise
            notices = (f"saved as PNG: {error}",)
    raise AssertionError("PNG is the last of the formats")


def _read(path: Path) -> Entry | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        sizes = {key: Size(*values.pop(key)) for key in ("source_size", "size")}
        entry = Entry(folder=path.parent, **values, **sizes)
        Settings.from_dict(entry.settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SettingsError):
        return None
    return entry


def _write_views(folder: Path, result: Picture, source: Picture) -> None:
    """The small pictures of a result, and the pair that the browser compares."""
    reduced(result, _THUMB).save(folder / "thumb.webp", quality=85)
    pixels = result.size.width * result.size.height
    after = reduced(result, int(max(result.size) * min((WHOLE_PIXELS / pixels) ** 0.5, 1)))
    overview = reduced(result, _OVERVIEW)
    small = whole(source)
    before, original = (
        _like(image, enlarged_part(small, Size(*image.size), Box(0, 0, *image.size))) for image in (after, overview)
    )
    suffix, options = (".png", {"compress_level": 1}) if after.mode == "RGBA" else (".jpg", _JPEG)
    views = {"before": before, "after": after, "overview": overview, "original": original}
    for name, image in views.items():
        image.save(folder / f"{name}{suffix}", icc_profile=result.icc, **options)


def _like(result: Pillow.Image, original: Pillow.Image) -> Pillow.Image:
    """The original with the transparency and the profile of the result beside it."""
    if result.mode == "RGBA":
        original.putalpha(result.getchannel("A"))
    original.info["icc_profile"] = result.info.get("icc_profile")
    return original


def check_result(size: Size, settings: Settings) -> None:
    """Whether a result of that size can be written as the settings ask; to be asked before a long run.

    Raises:
        ImageError: it is too large for the format, or too deep.
    """
    out = settings.output
    path = Path(tempfile.gettempdir(), f"result{SUFFIX[out.format]}")
    check_output(path, size, format=out.format, bit_depth=out.bit_depth, overwrite=True)


def convert(entry: Entry, format: str, folder: Path) -> Path:
    """The result in another format, in a new file inside `folder`; the one that is there if the format is the same.

    Raises:
        ImageError: the format cannot hold it.
    """
    suffix = SUFFIX[format]
    if format == "auto" or entry.result_path.suffix == suffix:
        return entry.result_path
    out = Settings.from_dict(entry.settings).output
    place = folder / secrets.token_hex(8)
    place.mkdir(parents=True)
    path = place / f"{entry.result_path.stem}{suffix}"
    save(
        load(entry.result_path, max_pixels=None),
        path,
        quality=out.quality,
        metadata=out.metadata,
        gps=out.gps,
        settings_json=json.dumps(entry.settings),
    )
    return path


def file_name(name: str) -> str:
    """`name` as part of a file name on every system."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", name).strip(" .")[:100] or "picture"


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
