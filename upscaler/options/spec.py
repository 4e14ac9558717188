"""What a setting is: a field of a dataclass with its range, flags and help in its annotation."""

from __future__ import annotations

import numbers
import os
import re
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from ..errors import SettingsError
from ..text import shown


@dataclass(frozen=True, slots=True)
class Spec:
    """What a front end needs to know of a field beside its type and default.

    Attributes:
        help: one phrase.
        flags: its command line flags, the long one first.
        low, high: the allowed range, both ends included; `step` is the grain of a slider.
        unit: "px", "MP" and so on.
        pattern: what a text value has to match as a whole.
        auto: 0 leaves the value open; the command line takes the word "auto" for it.
        repeated: the flag may be given several times; the values are joined by semicolons.
        lines: a text of several lines; the command line takes the name of a file for it.
    """

    help: str
    flags: tuple[str, ...]
    low: float | None = None
    high: float | None = None
    step: float | None = None
    unit: str = ""
    pattern: str | None = None
    auto: bool = False
    repeated: bool = False
    lines: bool = False

    @classmethod
    def of(cls, help: str, *flags: str, **limits: Any) -> Spec:
        """A spec with its flags one by one, as they stand in an annotation."""
        return cls(help, flags, **limits)


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of settings.

    Attributes:
        path: "tiles.overlap"; its group is the part before the dot.
        kind: int, float, str or bool.
        default: as in the dataclass.
        optional: `None` is allowed.
        choices: all values that are allowed, empty where a range or a pattern says so.
        spec: help, flags and limits.
    """

    path: str
    kind: type
    default: Any
    optional: bool
    choices: tuple[Any, ...]
    spec: Spec

    @property
    def name(self) -> str:
        """The long flag as a Python name: "seam_width"."""
        return self.spec.flags[0].lstrip("-").replace("-", "_")

    @property
    def group(self) -> str:
        return self.path.split(".")[0]

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.spec.pattern is not None:
            return self.spec.help
        if self.spec.low is not None:
            return f"{self.spec.low:g} to {self.spec.high:g}{' ' + self.spec.unit if self.spec.unit else ''}"
        return {bool: "true or false", str: "text"}.get(self.kind, self.kind.__name__)

    def check(self, value: Any) -> Any:
        """`value` in the field's type: whole numbers of any kind for int, real ones for float, paths for text.

        Raises:
            SettingsError: it is of another type or out of range.
        """
        if value is None and self.optional:
            return None
        given = _as_kind(value, self.kind)
        fits = type(given) is self.kind
        if fits and self.choices:
            fits = given in self.choices
        if fits and self.spec.low is not None and self.spec.high is not None:
            fits = self.spec.low <= given <= self.spec.high
        if fits and self.spec.pattern is not None:
            fits = re.fullmatch(self.spec.pattern, str(given)) is not None
        if not fits:
            example = "" if self.choices or self.spec.low is not None else f", such as {self.default!r}"
            raise SettingsError(f"{self.path}: {shown(value)} is not allowed; give {self.allowed}{example}")
        return given


def _as_kind(value: Any, kind: type) -> Any:
    """The value as a plain int, float, str or bool where that says the same, else as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral) and kind in (int, float, str):
        with suppress(OverflowError, ValueError):  # or of more digits than Python writes
            return kind(int(value))
    elif isinstance(value, numbers.Real) and kind is float:
        return float(value)
    elif isinstance(value, os.PathLike) and kind is str:
        return os.fspath(cast("os.PathLike[str]", value))
    return value


class Group:
    """A group of settings: checks each field against its spec when it is made."""

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            key = option.path.split(".")[1]
            object.__setattr__(self, key, option.check(getattr(self, key)))


@cache
def options_of(group: type) -> tuple[Option, ...]:
    """The settings of one group, in the order of its fields."""
    hints = get_type_hints(group, include_extras=True)
    return tuple(
        _option(f"{group.__name__.lower()}.{item.name}", hints[item.name], item.default) for item in fields(group)
    )


def _option(path: str, hint: Any, default: Any) -> Option:
    annotated, spec = get_args(hint)
    optional = type(None) in get_args(annotated)
    kind = next(part for part in get_args(annotated) if part is not type(None)) if optional else annotated
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return Option(path, type(choices[0]) if choices else kind, default, optional, choices, spec)
