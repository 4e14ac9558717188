"""The pictures that a page has chosen."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscaler.api import advice_on_faces
from upscaler.errors import UpscalerError
from upscaler.geometry import MAX_PIXELS, Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import load, read_settings, size_in_header
from upscaler.pictures.metadata import profile_name
from upscaler.pictures.picture import Picture
from upscaler.stages.suggest import Suggestion, suggest

from .failures import scrubbed
from .live import LIVE_SIDE
from .views import data_uri, reduced

_NO_SIZE = Size(0, 0)


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
