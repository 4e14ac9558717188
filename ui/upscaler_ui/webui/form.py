"""Our settings as a form in the host: its widgets, what they and an API request hold, and its lines in the infotext."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....upscaler.errors import SettingsError
from ....upscaler.options.settings import Settings, options
from ....upscaler.options.spec import Option
from .. import controls

GROUPS = {"target": "Size", "gan": "Enlarging", "tiles": "Tiles", "seams": "Seams", "wavelet": "True to the input"}
"""Groups of options that the script offers, and the title of each."""

FROM_TAB = ("batch", "seam_steps")
"""Options of these groups that the img2img tab has a widget for: its batch size, and its sampling steps."""

LEFT_OUT = ("mode", "wrap")
"""Options that the host cannot follow: its sampler takes all steps of a tile, its conditioning does not go around a picture."""

EXTRAS = ("scale", "width", "height", "megapixels", "gan", "gan_tile", "consistency")
"""Options that matter without a diffusion pass."""


def script_options() -> list[Option]:
    """Options of the img2img script, in the order of its arguments."""
    return [option for option in options() if option.group in GROUPS and option.name not in (*FROM_TAB, *LEFT_OUT)]


def extras_options() -> list[Option]:
    """Options of the Extras entry."""
    return [option for option in options() if option.name in EXTRAS]


def widget(option: Option, networks: Sequence[str], **more: Any) -> Any:
    """The widget of an option; the super-resolution network is picked from a list."""
    if option.name == "gan":
        more["choices"] = list(networks)
    return controls.control(option, **more)


def read(chosen: Sequence[Option], values: Sequence[Any], networks: Sequence[str]) -> dict[str, Any]:
    """Options by name from the values of their widgets, or of an API request.

    `None` is the default, and a choice may be given by its index.

    Raises:
        SettingsError: another number of values than options, or one that is not allowed.
    """
    if len(values) != len(chosen):
        names = ", ".join(option.name for option in chosen)
        raise SettingsError(f"script_args: {len(values)} values; give {len(chosen)}: {names}")
    result: dict[str, Any] = {}
    for option, value in zip(chosen, values):
        if option.name == "gan" and isinstance(value, (int, float)) and 0 <= value < len(networks):
            value = networks[int(value)]
        result[option.name] = controls.read(option, value)
    return result


def infotext_label(option: Option) -> str:
    """How the host's infotext calls the option; it allows letters, digits, spaces, "-" and "/" in a label."""
    return "Tiled " + option.name.replace("_", " ")


def to_infotext(chosen: Sequence[Option], settings: Settings) -> dict[str, Any]:
    """Every option that has a value, for `extra_generation_params`."""
    values = ((infotext_label(option), settings.value(option)) for option in chosen)
    return {label: value for label, value in values if value is not None}


def from_infotext(option: Option, params: Mapping[str, str]) -> Any:
    """The option's value in a parsed infotext, in the option's own type; `None` where there is none or a wrong one."""
    text = params.get(infotext_label(option))
    if text is None:
        return None
    try:
        return option.check(text == "True" if option.kind is bool else option.kind(text))
    except ValueError:
        return None
