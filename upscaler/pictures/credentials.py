"""Content credentials (C2PA): whether a file holds a signed manifest, which no changed picture can carry on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_MOST_PARTS = 10_000  # of a file that are looked at
_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_TIFF_TAG = 0xCD41


def has_credentials(stream: BinaryIO) -> bool:
    """Whether a JPEG, PNG, WebP, AVIF, HEIF or TIFF holds a manifest; only the heads of its parts are read.

    Source: C2PA specification 2.1, appendix A.
    """
    try:
        stream.seek(0)
        start = stream.read(16)
        if start.startswith(b"\xff\xd8"):
            return any(kind == 0xEB and b"jumb" in head and b"c2pa" in head for kind, head in _segments(stream))
        if start.startswith(b"\x89PNG"):
            return any(kind == b"caBX" for kind in _chunks(stream))
        if start[:4] == b"RIFF":
            return any(kind == b"C2PA" for kind in _riff(stream))
        if start[4:8] == b"ftyp":
            return any(kind == b"uuid" and head == _UUID for kind, head in _boxes(stream))
        return start[:4] in (b"II*\0", b"MM\0*") and _TIFF_TAG in _tags(stream, "<" if start[:1] == b"I" else ">")
    except (struct.error, OSError, ValueError):  # cut off: whoever reads the pixels says so
        return False


def _segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and first bytes of each segment of a JPEG before its pixels."""
    stream.seek(2)
    for _ in range(_MOST_PARTS):
        mark, kind, length = struct.unpack(">BBH", stream.read(4))
        if mark != 0xFF or kind == 0xDA or length < 2:
            return
        place = stream.tell()
        yield kind, stream.read(min(length - 2, 256))
        stream.seek(place + length - 2)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Kind of each chunk of a PNG."""
    stream.seek(8)
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack(">I4s", stream.read(8))
        yield kind
        stream.seek(length + 4, 1)


def _riff(stream: BinaryIO) -> Iterator[bytes]:
    """Kind of each chunk of a WebP."""
    stream.seek(12)
    for _ in range(_MOST_PARTS):
        kind, length = struct.unpack("<4sI", stream.read(8))
        yield kind
        stream.seek(length + length % 2, 1)


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and first 16 bytes of each box of an AVIF or HEIF at the top level."""
    place = 0
    for _ in range(_MOST_PARTS):
        stream.seek(place)
        length, kind = struct.unpack(">I4s", stream.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", stream.read(8))
        yield kind, stream.read(16)
        if length < 8:
            return
        place += length


def _tags(stream: BinaryIO, order: str) -> set[int]:
    """The tags in the main directory of a TIFF."""
    stream.seek(4)
    stream.seek(struct.unpack(f"{order}I", stream.read(4))[0])
    (count,) = struct.unpack(f"{order}H", stream.read(2))
    entries = stream.read(12 * count)
    return {struct.unpack_from(f"{order}H", entries, place)[0] for place in range(0, len(entries) - 11, 12)}
