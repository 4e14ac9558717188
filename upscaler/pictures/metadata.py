"""EXIF, XMP, IPTC, text and settings: what is kept of a source's description, and how settings travel in a file.

A PNG carries the settings as JSON in a text chunk named `upscaler`, every other format in the EXIF tag UserComment as
`{"upscaler": {...}, ...}`, where the other keys hold the source's own texts. Where the source says in `parameters`, or in
a UserComment of its own, how it was generated, that stays in the UserComment, where other programs look for it, and the
JSON goes into the tag ImageHistory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, cast

from PIL import Image as Pillow

from ..geometry import Size
from ..text import one_line
from . import iptc, xmp
from .iptc import DataSet, Iptc

KEY = "upscaler"
MAX_PROFILE = 4 << 20
MAX_EXIF = 1 << 20
MAX_TEXT = 16 << 20
"""Bytes (characters for text) above which a source's colour profile, EXIF block or text is left out."""

ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
USER_COMMENT, _WIDTH, _HEIGHT = 0x9286, 0xA002, 0xA003
IMAGE_HISTORY = 0x9213  # TIFF/EP, 5.2.43: what has been done to an image
PARAMETERS = "parameters"
"""The text in which image generators say how a picture was made: a chunk of a PNG, the UserComment elsewhere."""

# Description, maker, model, resolution and its unit, software, date, artist, host, rating, copyright, Windows' titles.
# A list of what is kept: in a TIFF this directory also says where its pixels lie, which is of no use elsewhere.
_KEPT = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 18246, 18249, 33432, 40091, 40092, 40093, 40094, 40095)
_NO_TEXT: Mapping[str, str] = {}
_INFOTEXT = re.compile(r"\bSteps: \d+")  # every WebUI writes it
_IMAGE_TEXT = ("Raw profile type ", "XML:com.adobe.xmp")  # EXIF again, and XMP, which is read as such


@dataclass(frozen=True)
class Described:
    """What a file says about its picture."""

    orientation: int
    exif: bytes | None
    text: Mapping[str, str]
    xmp: bytes | None = None
    iptc: Iptc = field(default_factory=dict[DataSet, "tuple[bytes, ...]"])


@dataclass(frozen=True)
class Exif:
    """An EXIF block taken apart: the main directory, and those for exposure (with Interop) and for place."""

    main: dict[int, Any]
    exposure: dict[int, Any]
    place: dict[int, Any]

    @staticmethod
    def of(block: Pillow.Exif) -> Exif:
        """The directories of a block that Pillow has read."""
        exposure = dict(block.get_ifd(EXIF_IFD))
        if exposure.pop(INTEROP_IFD, None) is not None:
            exposure[INTEROP_IFD] = dict(block.get_ifd(INTEROP_IFD))
        return Exif({tag: block[tag] for tag in _KEPT if tag in block}, exposure, dict(block.get_ifd(GPS_IFD)))

    @staticmethod
    def parse(block: bytes | None) -> Exif:
        """The directories of a serialised block; empty ones for None."""
        exif = Pillow.Exif()
        exif.load(block or b"")
        return Exif.of(exif)

    @property
    def directories(self) -> dict[int, Any]:
        """The main directory with the others, where they are not empty, nested in it."""
        nested = {EXIF_IFD: self.exposure, GPS_IFD: self.place}
        return self.main | {tag: directory for tag, directory in nested.items() if directory}

    @property
    def comment(self) -> bytes | None:
        """The UserComment as it stands in the block."""
        return self.exposure.get(USER_COMMENT)

    def described(self, size: Size, *, gps: bool) -> Exif:
        """The same for a picture of another size, with or without the place."""
        exposure = dict(self.exposure)
        if _WIDTH in exposure or _HEIGHT in exposure:
            exposure |= {_WIDTH: size.width, _HEIGHT: size.height}
        return Exif(self.main, exposure, self.place if gps else {})

    def with_texts(self, settings: str | None, text: Mapping[str, str], *, most: int) -> tuple[Exif, tuple[str, ...]]:
        """The same with settings (a JSON object) and texts, in at most `most` bytes, and notices.

        What does not fit is left out: first the texts, then the settings, then the block itself.
        """
        generated = text.get(PARAMETERS) or _text(self.comment)
        others = {key: value for key, value in text.items() if key != PARAMETERS}
        for kept_settings, kept_text, lost in (
            (settings, others, ()),
            (settings, _NO_TEXT, ("its texts",)),
            (None, _NO_TEXT, ("its texts and the settings",)),
        ):
            exif = self._with(kept_settings, kept_text, "" if kept_settings is None and lost else generated)
            if len(exif.tobytes() or b"") <= most:
                return exif, tuple(f"{what} do not fit into {most >> 10} KiB of EXIF and are left out" for what in lost)
        return Exif({}, {}, {}), (f"its EXIF, texts and settings do not fit into {most >> 10} KiB and are left out",)

    def _with(self, settings: str | None, text: Mapping[str, str], generated: str) -> Exif:
        """The same with settings, texts, and the text that says how the source was generated."""
        exposure = self.exposure | ({USER_COMMENT: _user_comment(generated)} if generated else {})
        if settings is None and not text:
            return Exif(self.main, exposure, self.place)
        ours = json.dumps({**text, KEY: json.loads(settings) if settings else None})
        if generated:
            return Exif(self.main | {IMAGE_HISTORY: ours}, exposure, self.place)
        return Exif(self.main, exposure | {USER_COMMENT: _user_comment(ours)}, self.place)

    def tobytes(self) -> bytes | None:
        """The block with its `Exif\\0\\0` header; None where there is nothing to say."""
        exif = Pillow.Exif()
        exif.update(self.directories)
        return exif.tobytes() if len(exif) else None


def read(image: Pillow.Image, notices: list[str]) -> Described:
    """Orientation, EXIF block and texts of an image whose pixels have been read; what is left out goes to `notices`.

    The thumbnail, the orientation and settings of an earlier run are no longer true of the result and are not kept.
    """
    text = _texts(getattr(image, "text", None) or {})
    if sum(map(len, text.values())) > MAX_TEXT:
        notices.append(f"its text is longer than {MAX_TEXT >> 20} MiB and is left out")
        text = {}
    orientation, block = 1, None
    try:
        raw = image.getexif()
        found = raw.get(ORIENTATION, 1)
        orientation = found if isinstance(found, int) else 1
        exif = Exif.of(raw)
        ours = _comment(exif.exposure.get(USER_COMMENT))
        if ours is not None:
            del exif.exposure[USER_COMMENT]
            if "UserComment" in ours:  # as the first versions kept it
                exif.exposure[USER_COMMENT] = _user_comment(str(ours.pop("UserComment")))
        ours = ours or _history(raw)
        text = _texts(ours or {}) | text
        generated = _text(exif.exposure.get(USER_COMMENT))
        if _INFOTEXT.search(generated):
            text = {PARAMETERS: generated} | text
        block = exif.tobytes()
        if block is not None and len(block) > MAX_EXIF:
            raise ValueError("too long")
    except Exception:  # a damaged block is no reason to refuse the pixels, and Pillow's parser fails in many ways
        notices.append("its EXIF block is damaged or too long and is left out")
        block = None
    return Described(orientation, block, text, _packet(image, notices), _datasets(image, notices))


def _packet(image: Pillow.Image, notices: list[str]) -> bytes | None:
    return checked_packet(xmp.packet_in(image), Size(*image.size), notices)


def checked_packet(packet: bytes | None, size: Size, notices: list[str]) -> bytes | None:
    """The XMP packet of a picture of that size if it can be carried on, else None with a line in `notices`."""
    if not packet:
        return None
    try:
        if len(packet) > xmp.MAX_XMP:
            raise ValueError(f"it is longer than {xmp.MAX_XMP >> 10} KiB")
        xmp.described(packet, size)
    except ValueError as error:
        notices.append(f"its XMP is left out: {one_line(error)}")
        return None
    return packet


def _datasets(image: Pillow.Image, notices: list[str]) -> Iptc:
    try:
        return iptc.read(image)
    except Exception:  # as for EXIF
        notices.append("its IPTC block is damaged or too long and is left out")
        return {}


def settings_in(image: Pillow.Image) -> dict[str, Any] | None:
    """The settings that an earlier run wrote into this file, as a dictionary; None where there are none."""
    chunk = image.info.get(KEY)
    if isinstance(chunk, str):
        found: Any = _json(chunk)
    else:
        exif = image.getexif()  # a BigTIFF has the tag in its main directory
        comment = _comment(exif.get_ifd(EXIF_IFD).get(USER_COMMENT, exif.get(USER_COMMENT))) or _history(exif)
        found = comment.get(KEY) if comment is not None else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def profile_space(profile: bytes) -> str:
    """Colour space a profile is for: `RGB `, `GRAY`, `CMYK`, `Lab `; empty for what is no profile. ICC.1:2022, 7.2."""
    valid = 128 < len(profile) <= MAX_PROFILE and profile[36:40] == b"acsp"
    return profile[16:20].decode("latin-1") if valid else ""


def profile_name(profile: bytes) -> str:
    """What a colour profile calls itself."""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return "a profile that cannot be read"
    return name.strip() or "a profile without a name"


def _texts(found: dict[Any, Any]) -> dict[str, str]:
    """What can be written again as text chunks of a PNG, whose keywords have 1 to 79 Latin-1 characters."""
    texts: dict[str, str] = {}
    for key, value in found.items():
        key = str(key).encode("latin-1", "replace").decode("latin-1")[:79]
        if key and key != KEY and not key.startswith(_IMAGE_TEXT):
            texts[key] = str(value).encode("utf-8", "replace").decode("utf-8")
    return texts


def _comment(value: Any) -> dict[str, Any] | None:
    """The JSON object of a UserComment that we wrote, else None."""
    text = _text(value)
    found = _json(text) if text.startswith("{") else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) and KEY in found else None


def _history(exif: Pillow.Exif) -> dict[str, Any] | None:
    """The JSON object in an ImageHistory that we wrote, else None."""
    found = _json(str(exif.get(IMAGE_HISTORY, "")))
    return cast("dict[str, Any]", found) if isinstance(found, dict) and KEY in found else None


def _json(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= MAX_TEXT else None
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    """Text of a UserComment: eight bytes that name the encoding, then the characters. EXIF 2.32, 4.6.5."""
    if not isinstance(value, bytes):
        return ""
    name, body = value[:8], value[8:]
    wide = "utf-16-le" if body[1:2] == b"\0" else "utf-16-be"  # the standard does not say which, and both are found
    encoding = wide if name.startswith(b"UNICODE") else "utf-8"
    return body.decode(encoding, errors="replace").strip("\0 ")


def _user_comment(text: str) -> bytes:
    return b"ASCII\0\0\0" + text.encode("ascii") if text.isascii() else b"UNICODE\0" + text.encode("utf-16-be")
