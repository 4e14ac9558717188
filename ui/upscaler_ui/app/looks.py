"""Looks: the presets as cards, which of them the form shows, and whether it was changed since."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from upscaler import weights
from upscaler.errors import SettingsError, UpscalerError
from upscaler.options import presets
from upscaler.options.presets import Preset
from upscaler.options.settings import Settings, options
from upscaler.stages.suggest import Suggestion

from .views import file_uri

DEFAULT = "photo"
"""The look of settings that nobody has changed."""

_SAMPLES = Path(__file__).parents[1] / "samples"
_OWN = "One of your presets."


def cards(chosen: str = DEFAULT, *, changed: bool = False, suggestion: Suggestion | None = None) -> dict[str, Any]:
    """What the cards show: all presets, one of them chosen, one sentence about it, and which one suits the picture."""
    found = presets.presets()
    help = next((preset.help or _OWN for preset in found if preset.name == chosen), "Your own settings.")
    found_cards = [_card(preset) for preset in found]
    hint = None
    if suggestion is not None:
        hint = {"name": suggestion.look, "title": title_of(suggestion.look), "reason": suggestion.reason}
    return {"chosen": chosen, "changed": changed, "help": help, "suggestion": hint, "presets": found_cards}


def title_of(name: str) -> str:
    """What the preset with this name is called."""
    return next((preset.title for preset in presets.presets() if preset.name == name), name)


def title_in_list(preset: Preset) -> str:
    """What a preset is called where people see no more of it; no two are called the same."""
    return preset.title if preset.builtin else f"{preset.name} (your preset)"


def title_for(settings: Settings) -> str:
    """What the look that the settings are is called."""
    preset, changes = _nearest(settings, tuple(presets.presets()))
    return preset.title + (" (changed)" if changes else "")


def names_of_own() -> list[str]:
    """Names of the user's presets."""
    return [preset.name for preset in presets.presets() if not preset.builtin]


def is_changed(name: str, settings: Settings) -> bool:
    """Whether settings are another look than that of the preset with this name, or there is none of this name."""
    try:
        return presets.get(name).over(settings) != settings
    except SettingsError:
        return True


def look_of(settings: Settings) -> str:
    """The name of the look that the settings are, or else of the one that differs least from them."""
    return _nearest(settings, tuple(presets.presets()))[0].name


@lru_cache(maxsize=1024)  # asked for each result that is listed, whenever something changes
def _nearest(settings: Settings, looks: tuple[Preset, ...]) -> tuple[Preset, int]:
    """The look that differs least from the settings, the first of several, and in how many options."""

    def changes(preset: Preset) -> int:
        look = preset.over(settings)
        return sum(look.value(option) != settings.value(option) for option in options())

    found = min(looks, key=changes)
    return found, changes(found)


def why_no_creativity(settings: Settings) -> str:
    """Why nothing is invented with these settings, whatever the creativity; empty where something is."""
    if settings.diffusion.model == "none":
        return "Not used: this look invents no detail, since it works without a diffusion model."
    return ""


def reads_prompt(model: str) -> bool:
    """Whether a diffusion model, by its name, reads prompts; one that cannot be found is taken to."""
    if model == "none":
        return False
    try:
        folder = weights.find(model, "diffusion")
    except UpscalerError:
        return True
    return not folder.is_dir() or any(folder.glob("text_encoder*"))


def _card(preset: Preset) -> dict[str, str]:
    sample = _SAMPLES / f"{preset.name}.webp"
    return {
        "name": preset.name,
        "title": preset.title,
        "sample": file_uri(sample) if preset.builtin and sample.is_file() else "",
    }
