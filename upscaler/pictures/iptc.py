"""IPTC-IIM: captions, keywords and credits as news agencies write them, kept where a format holds them and turned into XMP elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, cast

from PIL import Image as Pillow
from PIL import IptcImagePlugin

from .xmp import CORE, DC, PHOTOSHOP, Name, Value

DataSet = tuple[int, int]
"""Record and number of a dataset."""
Iptc = Mapping[DataSet, tuple[bytes, ...]]
"""The values of each dataset, in their order."""

MAX_IPTC = 48 << 10
"""Bytes above which the datasets are left out: they share segments of 64 KiB in a JPEG."""
TAG = 33723
"""The tag of a TIFF with IPTC-IIM."""

_CHARACTERS, _UTF8 = (1, 90), b"\x1b%G"
_PREVIEW = {200, 201, 202}
_PLACE = {26, 27, 90, 92, 95, 100, 101}
_LONGEST = 0x7FFF  # bytes of a dataset with a short header

# IPTC Photo Metadata Standard, Core 1.x: the property of XMP that stands for each dataset of record 2, and its form.
_TITLE, _KEYWORDS, _DATE, _CREATOR = 5, 25, 55, 80
_AS_XMP: dict[int, tuple[Name, str]] = {
    _TITLE: ((DC, "title"), "Alt"),
    _KEYWORDS: ((DC, "subject"), "Bag"),
    40: ((PHOTOSHOP, "Instructions"), ""),
    _DATE: ((PHOTOSHOP, "DateCreated"), ""),
    _CREATOR: ((DC, "creator"), "Seq"),
    85: ((PHOTOSHOP, "AuthorsPosition"), ""),
    90: ((PHOTOSHOP, "City"), ""),
    92: ((CORE, "Location"), ""),
    95: ((PHOTOSHOP, "State"), ""),
    100: ((CORE, "CountryCode"), ""),
    101: ((PHOTOSHOP, "Country"), ""),
    103: ((PHOTOSHOP, "TransmissionReference"), ""),
    105: ((PHOTOSHOP, "Headline"), ""),
    110: ((PHOTOSHOP, "Credit"), ""),
    115: ((PHOTOSHOP, "Source"), ""),
    116: ((DC, "rights"), "Alt"),
    120: ((DC, "description"), "Alt"),
    122: ((PHOTOSHOP, "CaptionWriter"), ""),
}


def read(image: Pillow.Image) -> Iptc:
    """The datasets of a JPEG or TIFF that describe the picture; its preview is left out.

    Raises: whatever Pillow's parser raises for damaged ones.
    """
    found: dict[DataSet, tuple[bytes, ...]] = {}
    parsed: Any = IptcImagePlugin.getiptcinfo(cast("Any", image))
    for key, value in (parsed or {}).items():
        values = tuple(item for item in (value if isinstance(value, list) else [value]) if isinstance(item, bytes))
        if values and (key == _CHARACTERS or (key[0] == 2 and key[1] not in _PREVIEW)):
            found[key] = values
    if sum(len(value) + 5 for values in found.values() for value in values) > MAX_IPTC:
        raise ValueError("too long")
    return found


def without_place(datasets: Iptc) -> Iptc:
    """The same without where the picture was taken."""
    return {key: values for key, values in datasets.items() if key[0] != 2 or key[1] not in _PLACE}


def tobytes(datasets: Iptc) -> bytes:
    """The datasets as they stand in a file. IPTC-IIM 4.2, chapter 3."""
    return b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(value)) + value
        for (record, number), values in sorted(datasets.items())
        for value in values
        if len(value) <= _LONGEST
    )


def in_jpeg(datasets: Iptc) -> bytes:
    """The content of the segment of a JPEG that holds them: a resource of Photoshop."""
    data = tobytes(datasets)
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def as_xmp(datasets: Iptc) -> dict[Name, Value]:
    """The properties of XMP that say the same."""
    return dict(_properties(datasets))


def _properties(datasets: Iptc) -> Iterator[tuple[Name, Value]]:
    coding = "utf-8" if _UTF8 in datasets.get(_CHARACTERS, ()) else ""
    for (record, number), values in datasets.items():
        if record != 2 or number not in _AS_XMP:
            continue
        name, kind = _AS_XMP[number]
        texts = [_text(value, coding) for value in values]
        if number == _DATE and len(texts[0]) == 8 and texts[0].isdigit():
            texts = [f"{texts[0][:4]}-{texts[0][4:6]}-{texts[0][6:]}"]
        yield name, {kind: texts} if kind else texts[0]


def _text(value: bytes, coding: str) -> str:
    """Text of a dataset; where no coding is named, UTF-8 is more likely than chance if it fits."""
    try:
        return value.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return value.decode(coding or "cp1252", "replace").strip("\0 ")
