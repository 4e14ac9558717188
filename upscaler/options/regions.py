"""Prompts for parts of a picture, as a text with one region a line.

    prefix: a photograph of
    0,0,50,100: a red barn          left, top, right and bottom in percent of the picture
    50,0,100,60 x1.3: a lake        stronger than the others
    2,1 of 3x2: a hill              the second column and first row of a grid of three columns and two rows
    # a comment

Semicolons end lines too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ..errors import SettingsError
from ..text import shown

_OPTION = "diffusion.tile_prompt"
_NUMBER = r"\d+(?:\.\d+)?"
_BOX = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})(?: x({_NUMBER}))?")
_CELL = re.compile(rf"(\d+),(\d+) of (\d+)x(\d+)(?: x({_NUMBER}))?")
_PREFIX = "prefix"
_HIGHEST = 3.0
_FORM = 'give lines such as "0,0,50,100: a red barn" (left, top, right, bottom in percent) or "2,1 of 3x2: a hill"'


class Region(NamedTuple):
    """A part of a picture and what it shows.

    Attributes:
        left, top, right, bottom: in fractions of the picture's sides.
        prompt: never empty.
        weight: how strongly the prompt acts beside those of other regions, above 0 to 3.
    """

    left: float
    top: float
    right: float
    bottom: float
    prompt: str
    weight: float = 1.0


class Regions(NamedTuple):
    """The regions of a text, and what stands before the prompt of each."""

    prefix: str
    regions: tuple[Region, ...]


@lru_cache(maxsize=8)
def regions(text: str) -> Regions:
    """The regions that a text says; none where it is empty.

    Raises:
        SettingsError: a line is neither a region nor a prefix, or a number is out of range.

    >>> regions("2,1 of 2x2 x0.5: a hill").regions
    (Region(left=0.5, top=0.0, right=1.0, bottom=0.5, prompt='a hill', weight=0.5),)
    """
    prefix, found = "", list[Region]()
    for line in re.split(r"[\n;]", text):
        head, colon, prompt = (part.strip() for part in line.partition(":"))
        if not head or head.startswith("#"):
            continue
        if not colon or not prompt:
            raise SettingsError(f"{_OPTION}: {shown(line.strip())} is neither a file nor a region; {_FORM}")
        if head == _PREFIX:
            prefix = prompt
        else:
            found.append(_region(" ".join(head.replace(", ", ",").split()), prompt))
    return Regions(prefix, tuple(found))


def _region(place: str, prompt: str) -> Region:
    if (box := _BOX.fullmatch(place)) is not None:
        left, top, right, bottom = (float(side) / 100 for side in box.groups()[:4])
        weight = box[5]
    elif (cell := _CELL.fullmatch(place)) is not None:
        column, row, columns, rows = (int(number) for number in cell.groups()[:4])
        if not (1 <= column <= columns and 1 <= row <= rows):
            raise SettingsError(f"{_OPTION}: {shown(place)} is not in its grid; cells are counted from 1,1")
        left, right = (column - 1) / columns, column / columns
        top, bottom = (row - 1) / rows, row / rows
        weight = cell[5]
    else:
        raise SettingsError(f"{_OPTION}: {shown(place)} is not a place; {_FORM}")
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise SettingsError(
            f"{_OPTION}: {shown(place)} is not a box; its numbers are left, top, right and bottom, from 0 to 100"
        )
    strength = float(weight or 1)
    if not 0 < strength <= _HIGHEST:
        raise SettingsError(
            f"{_OPTION}: the weight x{strength:g} is out of range; give one above 0, at most {_HIGHEST:g}"
        )
    return Region(left, top, right, bottom, prompt, strength)
