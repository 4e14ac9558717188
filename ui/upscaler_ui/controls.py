"""Widgets for the table of settings, for each version of Gradio that we meet: 3.41 and 4.40 in the WebUIs, 6 in the app.

Only widgets and arguments that all of these have are used, and nothing of the engine is imported: an `Option` brings
all that is needed, so that a plugin can carry this file beside its own copy of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from upscaler.options.spec import Option

_MOST_STOPS = 2048  # a slider with more positions is a number field

_TITLES = {
    "gan": "GAN model",
    "model": "Diffusion model",
    "control": "ControlNet",
    "vae": "VAE",
    "lora": "LoRA",
    "clip_skip": "CLIP skip",
    "negative": "Negative prompt",
    "gps": "GPS",
    "mark_ai": "Mark as AI",
    "gan_tile": "GAN tile",
    "low_vram": "Low VRAM",
    "tile_prompt": "Prompts by place",
    "wavelet_color": "Keep colours",
    "wavelet_denoise": "Remove noise",
    "max_pixels": "Largest input",
}


def title(option: Option) -> str:
    """What the option is called: "Seam width"."""
    words = option.name.replace("_", " ")
    return _TITLES.get(option.name, words[:1].upper() + words[1:])


def label(option: Option) -> str:
    """What stands beside the widget: "Seam width (px)"."""
    return title(option) + (f" ({option.spec.unit})" if option.spec.unit else "")


def control(option: Option, value: Any = None, *, number: bool = False, **more: Any) -> Any:
    """The widget of an option, showing `value` (default: the option's default).

    Args:
        number: a field to type into, also where it would be a slider.
        more: further arguments of the widget, such as `elem_id`; `choices` makes a free text a list to pick from.
    """
    value = option.default if value is None else value
    spec = option.spec
    common: dict[str, Any] = {"label": label(option), "info": spec.help, "value": value, **more}
    if option.choices or "choices" in more:
        common.setdefault("choices", list(option.choices))
        return gr.Dropdown(**common)
    if option.kind is bool:
        return gr.Checkbox(**common)
    if option.kind is str:
        common["value"] = value or ""
        return gr.Textbox(**common)
    low, high = spec.low or 0.0, spec.high or 0.0
    if not (number or option.optional) and spec.step and (high - low) / spec.step <= _MOST_STOPS:
        return gr.Slider(minimum=low, maximum=high, step=spec.step, **common)
    return gr.Number(precision=0 if option.kind is int else None, step=spec.step or 1, **common)


def read(option: Option, value: Any) -> Any:
    """The option's value from what its widget, or a request without one, holds.

    An empty field, or a 0, is `None` where that is allowed, and an empty field is the default elsewhere; a choice may
    be given by its index where the choices are words.

    Raises:
        SettingsError: not an allowed value.
    """
    if option.optional and value == 0:
        return None
    if value is None or (value == "" and option.kind is not str):
        return None if option.optional else option.default
    if option.choices and option.kind is str and isinstance(value, int) and 0 <= value < len(option.choices):
        return option.choices[value]
    if option.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    return option.check(value)
