"""Words for people: one line of an error, the nearest known name, counts and durations."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 80  # characters


def one_line(error: BaseException) -> str:
    """The message of an error on one line of at most 200 characters, or its kind if it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def shown(value: object) -> str:
    """A value from anywhere as a message quotes it: on one line, and no longer than anyone would read.

    >>> shown("wide"), shown(10**6000)
    ("'wide'", 'a number of more than 4,300 digits')
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes out no longer ones, since that takes the square of their length
        return f"a number of more than {sys.get_int_max_str_digits():,} digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to say about an unknown name: the nearest ones, or all that are available.

    >>> did_you_mean("strenght", ["strength", "steps"])
    'did you mean strength?'
    >>> did_you_mean("x", ["strength", "steps"])
    'available: strength, steps'
    """
    names = list(known)
    close = get_close_matches(name, names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"available: {', '.join(names) or 'none'}"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "tile"), count(12, "tile")
    ('1 tile', '12 tiles')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration as exact as an estimate is.

    >>> duration(12.3), duration(83), duration(7500)
    ('12 s', '1 min 25 s', '2 h 5 min')
    """
    if seconds < 59.5:
        return f"{max(round(seconds), 1)} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds / 5) * 5, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours and minutes else f"{hours} h" if hours else f"{minutes} min"


def amount(size: float) -> str:
    """A number of bytes, in the units of file managers.

    >>> amount(33_486_772), amount(1.25e9), amount(900)
    ('33 MB', '1.2 GB', '1 kB')
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{max(size / 1e3, 1):.0f} kB"
