"""All settings of a run, once: frozen dataclasses whose fields carry their range, unit, flags and help.

`options(Settings)` is the table that the command line, the app and the plugins build their controls from. A
`Settings` is complete and valid or does not exist. Their groups are in `pictures`, `stages`, `diffusion` and `tiles`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, cast

from ..errors import SettingsError
from ..text import did_you_mean, shown
from .diffusion import Diffusion as Diffusion
from .diffusion import MixedSampling as MixedSampling
from .diffusion import Sampling as Sampling
from .diffusion import Scheduler as Scheduler
from .pictures import Format as Format
from .pictures import Output as Output
from .pictures import Target as Target
from .spec import Option, options_of
from .stages import Faces as Faces
from .stages import Gan as Gan
from .stages import Hardware as Hardware
from .stages import Wavelet as Wavelet
from .tiles import Seams as Seams
from .tiles import Tiles as Tiles


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a run depends on beside the picture."""

    target: Target = field(default_factory=Target)
    gan: Gan = field(default_factory=Gan)
    diffusion: Diffusion = field(default_factory=Diffusion)
    tiles: Tiles = field(default_factory=Tiles)
    seams: Seams = field(default_factory=Seams)
    faces: Faces = field(default_factory=Faces)
    wavelet: Wavelet = field(default_factory=Wavelet)
    output: Output = field(default_factory=Output)
    hardware: Hardware = field(default_factory=Hardware)

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings from option names, such as `Settings.of(scale=2, strength=0.3, seam_width=48)`.

        A name is that of the command line's long flag with underscores; all others keep their default.

        Raises:
            SettingsError: an unknown name (with the nearest known one), or a value out of its range.
        """
        return cls().but(**values)

    def but(self, **values: Any) -> Settings:
        """These settings with some changed, by option names as in `Settings.of`."""
        table = {option.name: option for option in options()}
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in table:
                raise SettingsError(f"{name}: no such option; {did_you_mean(name, table)}")
            group, key = table[name].path.split(".")
            groups.setdefault(group, {})[key] = value
        return replace(self, **{group: replace(getattr(self, group), **changes) for group, changes in groups.items()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of `to_dict`; missing fields keep their default, unknown ones are refused."""
        table = {option.path: option for option in options()}
        flat: dict[str, Any] = {}
        for group, content in values.items():
            if not isinstance(content, Mapping):
                raise SettingsError(f"{group}: {shown(content)} is not a group of settings")
            for key, value in cast("Mapping[str, Any]", content).items():
                path = f"{group}.{key}"
                if path not in table:
                    raise SettingsError(f"{path}: no such setting; {did_you_mean(path, table)}")
                flat[table[path].name] = value
        return cls.of(**flat)

    def value(self, option: Option) -> Any:
        """The value of that option in these settings."""
        group, key = option.path.split(".")
        return getattr(getattr(self, group), key)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, group by group."""
        result: dict[str, dict[str, Any]] = {}
        for option in options():
            group, key = option.path.split(".")
            result.setdefault(group, {})[key] = self.value(option)
        return result

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def with_names(message: str, name: Callable[[Option], str]) -> str:
    """The message of an error with each option, which errors call by its path, called as a front end calls it.

    >>> with_names("tiles.tile: 20 px is too small; raise it", lambda option: option.spec.flags[0])
    '--tile: 20 px is too small; raise it'
    """
    table = {option.path: option for option in options()}
    return re.sub(r"\b[a-z]+\.[a-z_]+\b", lambda m: name(table[m[0]]) if m[0] in table else m[0], message)


@cache
def options() -> tuple[Option, ...]:
    """The table of all settings, in the order of the groups and their fields."""
    groups = (item.default_factory for item in fields(Settings))
    return tuple(option for group in groups for option in options_of(cast(type, group)))
