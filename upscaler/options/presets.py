"""Presets: looks with a name, built in or the user's own, which are one JSON file each in the data folder.

A preset says how a picture is enlarged, not how large, where to, from which seed or on what machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from .. import folders
from ..errors import SettingsError
from ..text import did_you_mean
from .loras import entries
from .settings import Settings, options
from .spec import Option

_LARGEST = 65536  # bytes of a preset as JSON
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))}
_MODELS = ("gan", "model", "base", "control")
_MODEL_NAME = re.compile(r"|[\w.+-]+(/[\w.-]+)?")  # a name or a hub id
_WORDS = ("prompt", "negative")


@dataclass(frozen=True)
class Preset:
    """A look.

    Attributes:
        name: lower-case id.
        title, help: for people; the help is one sentence.
        values: option names, as in `Settings.of`; an option that is not named is at its default.
        builtin: whether it comes with the package.
    """

    name: str
    title: str
    help: str
    values: Mapping[str, Any] = field(hash=False)
    builtin: bool = False

    def over(self, settings: Settings) -> Settings:
        """`settings` with this look; their size, output, hardware and seed stay, and so do prompts it does not name."""
        defaults = {option.name: option.default for option in _preset_options() if option.name not in _WORDS}
        return settings.but(**{**defaults, **self.values})


# Chosen by eye and by held-out photographs. Kodak's 24, reduced to a quarter: PSNR, HaarPSI, and energy of the finest detail over
# that of the original. Without diffusion 25.55, 0.734, 0.46; photo 25.62, 0.740, 0.46; texture 25.36, 0.736, 0.55; faithful
# 26.12, 0.739, 0.18; fast 25.83, 0.739, 0.27.
_BUILTIN = (
    Preset("photo", "Photo", "For photographs: real detail, calm edges, true colours.", {}, True),
    Preset(
        "art",
        "Art",
        "For paintings and illustrations: clean strokes, and paper or canvas kept.",
        {"gan": "realesrgan-x4plus-anime", "strength": 0.17},
        True,
    ),
    Preset(
        "anime",
        "Anime",
        "For line art and flat colours: smooth lines, even where the input has jagged ones.",
        {"gan": "realesrgan-x4plus-anime", "model": "none", "consistency": 0.0},
        True,
    ),
    Preset(
        "texture",
        "Texture",
        "The crispest: fur, leaves, stone and cloth, with more of it invented.",
        {"strength": 0.6, "seam_strength": 0.6, "wavelet_denoise": 0.0},
        True,
    ),
    Preset(
        "faithful",
        "Faithful",
        "The least invented: measurably closest to the original, and softer than Photo.",
        {"gan": "realesr-animevideov3", "strength": 0.1, "wavelet_denoise": 1.0},
        True,
    ),
    Preset(
        "fast",
        "Fast",
        "In a fraction of the time: clean edges, no new texture.",
        {"gan": "realesr-animevideov3", "seams": "none"},
        True,
    ),
)


def presets() -> list[Preset]:
    """The built-in presets, then the user's by name; files that are not presets are left out."""
    found = list(_BUILTIN)
    folder = _folder()
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(_read(file))
        except SettingsError:
            continue
    return found


def get(name: str) -> Preset:
    """The preset of that name.

    Raises:
        SettingsError: it does not exist, or its file is damaged; names the nearest one.
    """
    for preset in _BUILTIN:
        if preset.name == name:
            return preset
    file = _file(name)
    if file.is_file():
        return _read(file)
    known = [preset.name for preset in presets()]
    raise SettingsError(f"preset {name}: does not exist; {did_you_mean(name, known)}")


def save(name: str, settings: Settings, *, overwrite: bool = False) -> Preset:
    """The look of these settings, stored under that name: what differs from the defaults. Raises as `store`."""
    default = Settings()
    values = {
        option.name: settings.value(option)
        for option in _preset_options()
        if settings.value(option) != default.value(option)
    }
    return store(Preset(name, _title(name), "", values), overwrite=overwrite)


def store(preset: Preset, *, overwrite: bool = False) -> Preset:
    """The preset, stored as the user's own.

    Raises:
        SettingsError: a name that is not allowed, is that of a built-in preset, or (without `overwrite`) is taken;
            or the file cannot be written.
    """
    file = _own_file(preset.name)
    stored = replace(preset, builtin=False)
    try:
        folders.replace_text(file, to_json(stored), overwrite=overwrite)
    except FileExistsError as error:
        raise SettingsError(f"preset {preset.name}: already exists; choose another name, or delete it first") from error
    except OSError as error:
        raise SettingsError(f"preset {preset.name}: {file} cannot be written ({error.strerror})") from error
    return stored


def delete(name: str) -> None:
    """Remove one of the user's presets.

    Raises:
        SettingsError: it does not exist, or it is built in.
    """
    file = _own_file(name)
    if not file.is_file():
        get(name)
    try:
        file.unlink()
    except OSError as error:
        raise SettingsError(f"preset {name}: {file} cannot be removed ({error.strerror})") from error


def to_json(preset: Preset) -> str:
    """What `from_json` reads."""
    fields = {"name": preset.name, "title": preset.title, "help": preset.help, "values": dict(preset.values)}
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Preset:
    """The preset in a text from anywhere, checked; its models are names and never paths. It is not stored.

    Raises:
        SettingsError: too long, not a preset, or a value that is not allowed.
    """
    preset = _parse(text)
    for name in _MODELS:
        named = [each for each, _ in entries(str(preset.values.get(name, "")))]
        if not all(map(_MODEL_NAME.fullmatch, named)):
            raise SettingsError(
                f"preset {preset.name}: {name} {str(preset.values[name])[:80]!r} is a path on another machine; "
                "name a model instead"
            )
    return preset


def from_file(file: Path) -> Preset:
    """The preset in a file from anywhere, checked as by `from_json`. It is not stored.

    Raises:
        SettingsError: as `from_json`, or the file cannot be read.
    """
    try:
        return from_json(_text_of(file))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not a preset; presets are JSON") from None


def _text_of(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_LARGEST + 1).decode("utf-8")


def _parse(text: str) -> Preset:
    if len(text.encode("utf-8", "replace")) > _LARGEST:
        raise SettingsError(f"preset: longer than {_LARGEST >> 10} KiB, so this is not a preset")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"preset: is not JSON ({str(error)[:80]})") from None
    if not isinstance(content, dict):
        raise SettingsError("preset: is not a JSON object with name, title, help and values")
    fields = cast("dict[str, Any]", content)
    name, title, help, values = (fields.get(key, "") for key in ("name", "title", "help", "values"))
    if not isinstance(name, str) or not isinstance(values, dict):
        raise SettingsError("preset: needs a name and an object of values")
    _check_name(name)
    for key, value, most in (("title", title, 60), ("help", help, 200)):
        if not isinstance(value, str) or len(value) > most or not value.isprintable():
            raise SettingsError(f"preset {name}: its {key} is not one line of at most {most} characters")
    given = cast("dict[str, Any]", values)
    for key in given.keys() - {option.name for option in _preset_options()}:
        if key in {option.name for option in options()}:
            raise SettingsError(f"preset {name}: a preset cannot set {key}; remove it")
    try:
        settings = Settings.of(**given)
    except SettingsError as error:
        raise SettingsError(f"preset {name}: {str(error)[:300]}") from None
    checked = {option.name: settings.value(option) for option in _preset_options() if option.name in given}
    return Preset(name, title or _title(name), help, checked)


def _read(file: Path) -> Preset:
    """The preset in one of the user's files; its name is that of the file."""
    try:
        _check_name(file.stem)
        return replace(_parse(_text_of(file)), name=file.stem)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: {error}") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        like = re.sub(r"[^a-z0-9]+", "-", name[:40].lower()).strip("-")
        hint = f", such as {like}" if _NAME.fullmatch(like) and like not in _RESERVED else ""
        raise SettingsError(
            f"preset name {name[:80]!r}: is not allowed; give up to 40 lower-case letters, digits, - and _{hint}"
        )


def _title(name: str) -> str:
    return re.sub("[-_]+", " ", name).strip().capitalize()


def _own_file(name: str) -> Path:
    if any(preset.name == name for preset in _BUILTIN):
        raise SettingsError(f"preset {name}: is built in and cannot be changed; choose another name")
    return _file(name)


def _file(name: str) -> Path:
    _check_name(name)
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return folders.data_folder() / "presets"


def _preset_options() -> list[Option]:
    """The options that a preset sets."""
    groups = ("gan", "diffusion", "tiles", "seams", "wavelet")
    return [option for option in options() if option.group in groups and option.name not in ("seed", "batch")]
