"""`upscaler presets`."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ..errors import SettingsError
from ..folders import whole_or_absent
from ..options import presets
from ..options.presets import Preset
from .run import settings_from


def presets_command(parsed: argparse.Namespace) -> int:
    """List, show, save, delete, export or import presets."""
    match parsed.action:
        case "list":
            for preset in presets.presets():
                print(_listed(preset, lines=parsed.json))
        case "show":
            print(_shown(presets.get(parsed.name)))
        case "save":
            presets.save(parsed.name, settings_from(parsed), overwrite=parsed.replace)
        case "delete":
            presets.delete(parsed.name)
        case "export":
            _export(presets.get(parsed.name), parsed.output)
        case _:
            preset = presets.from_file(Path(parsed.file))
            presets.store(replace(preset, name=parsed.name or preset.name), overwrite=parsed.replace)
    return 0


def _listed(preset: Preset, *, lines: bool) -> str:
    if lines:
        return json.dumps({**json.loads(presets.to_json(preset)), "builtin": preset.builtin})
    return f"{preset.name:20}{preset.help or 'yours'}"


def _shown(preset: Preset) -> str:
    flags = [
        f"  --{'' if value is not False else 'no-'}{name.replace('_', '-')}{'' if isinstance(value, bool) else f' {value}'}"
        for name, value in preset.values.items()
    ]
    return "\n".join([f"{preset.title}. {preset.help}".strip(), *(flags or ["  the defaults"])])


def _export(preset: Preset, output: str | None) -> None:
    if output is None:
        print(presets.to_json(preset), end="")
        return
    try:
        with whole_or_absent(Path(output), overwrite=False) as stream:
            stream.write(presets.to_json(preset).encode())
    except FileExistsError:
        raise SettingsError(f"--output {output}: already exists; name another file") from None
    except OSError as error:
        raise SettingsError(f"--output {output}: cannot be written ({error.strerror})") from error
