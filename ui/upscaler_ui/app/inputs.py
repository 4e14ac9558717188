"""The pictures that a page has chosen."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscaler.arrays.types import Array
from upscaler.errors import UpscalerError
from upscaler.geometry import MAX_PIXELS, Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import load, read_settings, size_in_header
from upscaler.pictures.metadata import profile_name
from upscaler.pictures.picture import Picture
from upscaler.planning import advice_on_faces
from upscaler.stages.suggest import Suggestion, suggest

from .failures import scrubbed
from .live import LIVE_SIDE
from .views import data_uri, reduced

_NO_SIZE = Size(0, 0)
_PNG = "data:image/png;base64,"
_MASK_PIXELS = 1 << 22


@dataclass(frozen=True)
class Input:
    """A picture that waits to be enlarged; of its pixels only a small copy is kept.

    Attributes:
        path: the original file.
        error: why it cannot be read; then the size is 0x0.
        settings: those that made it, where it is a result of ours.
        suggestion: a look that suits it, and why.
    """

    path: Path
    name: str
    size: Size = _NO_SIZE
    line: str = ""
    thumb: str = ""
    notices: tuple[str, ...] = ()
    settings: Settings | None = None
    suggestion: Suggestion | None = None
    error: Exception | None = None

    @staticmethod
    def of(path: Path, name: str = "", *, max_pixels: int | None = MAX_PIXELS, whole: bool = True) -> Input:
        """The picture in a file, named like the file by default; `error` holds what is wrong with it.

        Args:
            max_pixels: as in `upscaler.load`.
            whole: False reads only the size, where the header of the file is enough to tell.
        """
        name = name or path.stem
        try:
            size = None if whole else size_in_header(path, max_pixels=max_pixels)
            if size is not None:
                return Input(path, name, size)
            picture = load(path, max_pixels=max_pixels)
            stored = read_settings(path)
            settings = None
            if stored is not None:
                with suppress(UpscalerError):  # those of another version may not fit
                    settings = Settings.from_dict(stored)
            thumb = data_uri(reduced(picture, LIVE_SIDE))
            notices = [scrubbed(notice) for notice in picture.notices]
            if told := advice_on_faces(picture, Settings()):
                notices.append(f"{told} (Advanced, Faces)")
            suggestion = suggest(picture.pixels, picture.jpeg_quantisation)
            return Input(path, name, picture.size, describe(picture), thumb, tuple(notices), settings, suggestion)
        except (UpscalerError, MemoryError) as error:
            return Input(path, name, error=error)


def describe(picture: Picture) -> str:
    """One line on a picture, such as "512x512, sRGB, 8 bit, PNG"."""
    parts = [
        str(picture.size),
        profile_name(picture.icc) if picture.icc else "sRGB",
        f"{picture.depth} bit",
        *(["transparent"] if picture.alpha is not None else []),
        *(["grey"] if picture.grey else []),
        *([picture.format] if picture.format else []),
    ]
    return ", ".join(parts)


def painted_mask(sent: object) -> Array | None:
    """The mask that a browser has sent as a data URI, (h, w) in [0, 1]; `None` if nothing was painted, or it is no picture."""
    if not isinstance(sent, str) or not sent.startswith(_PNG):
        return None
    with suppress(UpscalerError, ValueError):
        mask = load(base64.b64decode(sent.removeprefix(_PNG), validate=True), max_pixels=_MASK_PIXELS).pixels[..., 0]
        return mask.copy() if mask.any() else None
    return None
