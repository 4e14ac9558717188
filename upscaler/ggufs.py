"""The head of a GGUF file, the format of llama.cpp: the names of its tensors, their shapes and formats, and where each lies.

Files come from anywhere: every length is checked against what is there before it is used. No library here, so that lists
of models need none; `diffusers` and the package `gguf` compute with what is read.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UnsupportedModel
from .text import shown

MAGIC = b"GGUF"

_LONGEST = 4 << 20  # bytes of a head; those of language models, with their words, are longer
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_SIDES = 4

FORMATS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    20: ("IQ4_NL", 32, 18),
    23: ("IQ4_XS", 256, 136),
    30: ("BF16", 1, 2),
}
"""Those that diffusers reads, by their number: name, how many numbers make a block, and its bytes."""


class Tensor(NamedTuple):
    """A tensor in the file: rows of blocks, of a format in `FORMATS`.

    Attributes:
        start, bytes: where it lies in the file.
    """

    shape: tuple[int, ...]
    format: str
    start: int
    bytes: int


class Head(NamedTuple):
    """What stands at the head: single words that the file says of itself, and its tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]


def is_gguf(path: Path) -> bool:
    """Whether a file says that it is one. Raises: `OSError`, where it cannot be read."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def read_head(path: Path) -> Head:
    """The head of a GGUF file.

    Raises:
        UnsupportedModel: it is damaged, cut off, or keeps numbers in a format that is not read.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_LONGEST)
    size = os.path.getsize(path)
    try:
        head = _Reader(path, content).head()
    except (EOFError, ValueError) as error:
        if isinstance(error, EOFError) and size > _LONGEST:
            raise UnsupportedModel(
                f"{path}: its head is above {_LONGEST >> 20} MiB; it is a language model, or damaged"
            ) from None
        raise UnsupportedModel(f"{path}: is damaged or cut off, or not a GGUF file of version 2 or 3") from None
    end = max((tensor.start + tensor.bytes for tensor in head.tensors.values()), default=0)
    if size < end:
        raise UnsupportedModel(
            f"{path}: is cut off ({size} of {end} bytes), perhaps by an interrupted download; download it again"
        )
    return head


class _Reader:
    """Reads on from where it is; `EOFError` where nothing more is, `ValueError` where it makes no sense."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content, self._at = path, content, 0

    def head(self) -> Head:
        if self._take("4s") != MAGIC or self._take("I") not in (2, 3):
            raise ValueError
        tensors, entries = self._take("Q"), self._take("Q")
        values: dict[str, Any] = {}
        for _ in range(entries):
            name = self._string()
            values[name] = self._value(self._take("I"))
        found = [self._tensor() for _ in range(tensors)]
        step = values.get("general.alignment", 32)
        if not isinstance(step, int) or not 0 < step <= _LONGEST:
            raise ValueError
        start = -(-self._at // step) * step
        words = {name: value for name, value in values.items() if isinstance(value, str)}
        return Head(words, {name: tensor._replace(start=start + tensor.start) for name, tensor in found})

    def _bytes(self, length: int) -> bytes:
        if length > len(self._content) - self._at:
            raise EOFError
        self._at += length
        return self._content[self._at - length : self._at]

    def _take(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}")))[0]

    def _string(self) -> str:
        return self._bytes(self._take("Q")).decode("utf-8")

    def _value(self, kind: int) -> Any:
        """A number or a string, or `None` for a list, which is passed over."""
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_scalar(kind))
        kind, count = self._take("I"), self._take("Q")
        if kind == _STRING:
            for _ in range(count):
                self._string()
        else:
            self._bytes(count * struct.calcsize(_scalar(kind)))
        return None

    def _tensor(self) -> tuple[str, Tensor]:
        name, sides = self._string(), self._take("I")
        if not 1 <= sides <= _MOST_SIDES:
            raise ValueError
        shape = tuple(self._take("Q") for _ in range(sides))[::-1]
        number, offset = self._take("I"), self._take("Q")
        if number not in FORMATS:
            raise UnsupportedModel(
                f"{self._path}: its {shown(name)} is in a format of GGUF that diffusers does not read (number {number}); use a "
                "version of the file in Q8_0, Q6_K, Q5_K, Q4_K or Q4_0"
            )
        format, block, length = FORMATS[number]
        if shape[-1] % block:
            raise ValueError
        return name, Tensor(shape, format, offset, math.prod(shape) // block * length)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError
    return _SCALARS[kind]
