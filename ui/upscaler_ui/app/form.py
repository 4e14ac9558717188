"""The form: every setting as a widget, and the way from widgets to `Settings` and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import weights
from upscaler.errors import SettingsError
from upscaler.models.loras import entries
from upscaler.options.presets import Preset, presets
from upscaler.options.settings import Output, Settings, options
from upscaler.options.spec import Option

from ..controls import control, read
from .components import component
from .views import file_uri

LEFT_OUT = {
    "overwrite": "the app gives each result a name of its own",
    "allow_pickle": "the app reads safetensors; `upscaler models convert` makes them of pickles",
}
"""Options without a widget, and why."""

_MODELS: dict[str, weights.Kind] = {"gan": "gan", "model": "diffusion", "control": "control", "vae": "vae"}
_LISTS: dict[str, weights.Kind] = {"lora": "lora", "embedding": "embedding"}
_PATHS = {option.name: option.path for option in options()}
_GROUPS = (
    ("Models", ("control", "vae", "lora", "embedding", "gan_tile")),
    ("Sampling", ("steps", "guidance", "scheduler", "clip_skip", "seed")),
    ("Tiles", ("tile", "overlap", "feather", "order", "batch")),
    ("Seams", ("seams", "seam_strength", "seam_width", "seam_steps")),
    ("Colour and noise", ("wavelet_color", "wavelet_denoise")),
    ("Output", ("quality", "bit_depth", "dither", "metadata", "gps", "max_pixels")),
    ("Hardware", ("device", "precision", "backend")),
)
_BY = ("Factor", "Width × height", "Megapixels", "Print")
_SAMPLES = Path(__file__).parents[1] / "samples"

_TO_STRENGTH = "(c) => Math.round(c * c) / 10000"
_TO_CREATIVITY = "(s) => Math.round(100 * Math.sqrt(s))"
_TO_HELD = "(s) => [s / 100, s / 100]"
_TO_STRUCTURE = "(s) => Math.min(Math.round(100 * s), 100)"


class Form:
    """The left side of the page.

    Attributes:
        widgets: by option name, in the order of the table of settings.
        by: which of the ways to say a size counts.
        print_width, print_height, dpi: a size on paper, in centimetres.
        cards, creativity, structure: what stands for several of the widgets at once.
    """

    def __init__(self) -> None:
        self.table: dict[str, Option] = {option.name: option for option in options() if option.name not in LEFT_OUT}
        self.widgets: dict[str, Any] = {}

    def look(self) -> None:
        """Presets, the two big sliders with the numbers behind them, prompt and models."""
        self.cards = component("cards", preset_cards(), elem_id="presets")
        self.creativity = self._knob("Creativity", "how much new detail is invented", 50, ("strength",))
        self.structure = self._knob(
            "Structure", "how closely the result follows the picture", 100, ("consistency", "control_scale")
        )
        strength, held = self.widgets["strength"], [self.widgets[name] for name in ("consistency", "control_scale")]
        own: dict[str, Any] = {"fn": None, "api_visibility": "private"}
        self.creativity.input(inputs=self.creativity, outputs=strength, js=_TO_STRENGTH, **own)
        strength.change(inputs=strength, outputs=self.creativity, js=_TO_CREATIVITY, **own)
        self.structure.input(inputs=self.structure, outputs=held, js=_TO_HELD, **own)
        for widget in held:
            widget.input(inputs=widget, outputs=self.structure, js=_TO_STRUCTURE, **own)
        self._add("prompt", info=None, placeholder="what the picture shows (the model pocket ignores it)")
        self._add("negative", info=None, placeholder="what it must not show (needs guidance above 1)")
        for name in ("gan", "model"):
            self._add(name, info=None)

    def _knob(self, title: str, help: str, value: int, names: Sequence[str]) -> Any:
        """A slider from 0 to 100, and beside it the numbers that it stands for."""
        with gr.Row(equal_height=True):
            knob = gr.Slider(0, 100, value, step=1, label=title, info=help, scale=3, elem_id=title.lower())
            for name in names:
                self._add(name, number=True, info=None, min_width=96, scale=1)
        return knob

    def size(self) -> None:
        """How large, in whatever unit; and the file format."""
        self.by = gr.Radio(_BY, value=_BY[0], show_label=False, container=False, elem_id="by")
        with gr.Row() as factor:
            self._add("scale", info=None)
        with gr.Row(visible=False) as pixels:
            self._add("width", info="leave empty to keep the shape")
            self._add("height", info="leave empty to keep the shape")
        with gr.Row(visible=False) as megapixels:
            self._add("megapixels", info=None)
        with gr.Row(visible=False) as paper:
            self.print_width = gr.Number(30, label="Width on paper (cm)", minimum=0, min_width=90)
            self.print_height = gr.Number(None, label="Height (cm)", info=None, minimum=0, min_width=90)
            self.dpi = gr.Number(300, label="dpi", min_width=90)
        panels = [factor, pixels, megapixels, paper]
        self._add("format", info=None)
        self.by.change(
            _visible_panels,
            self.by,
            panels,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def advanced(self) -> None:
        """All other settings, group by group."""
        for title, names in _GROUPS:
            with gr.Accordion(title, open=False):
                for name in names:
                    self._add(name)

    def _add(self, name: str, **more: Any) -> None:
        if name in _MODELS:
            more["choices"] = model_choices(name)
        self.widgets[name] = control(self.table[name], elem_id=name, **more)

    @property
    def fields(self) -> list[Any]:
        """All widgets that settings are read from: pass them as inputs, and their values to `settings`."""
        return [self.by, self.print_width, self.print_height, self.dpi, *(self.widgets[name] for name in self.table)]

    @property
    def shown(self) -> list[Any]:
        """All widgets that `updates` may change."""
        return [*self.fields, self.creativity, self.structure, self.cards]

    def settings(self, values: Sequence[Any], *, size: bool = True) -> Settings:
        """The settings that the values of `fields` say, or all of them but the size.

        Raises:
            SettingsError: a value is out of range, or a model is not in the list.
        """
        by, width, height, dpi, *rest = values
        given = self.given(dict(zip(self.table, rest)))
        target = {name: given.pop(name) for name, option in self.table.items() if option.group == "target"}
        return Settings.of(**given, **(_target(by, target, width, height, dpi) if size else {}))

    def max_pixels(self, values: Sequence[Any]) -> int:
        """The largest input that the values of `fields` allow, in pixels; the usual one while there is no such number."""
        option = self.table["max_pixels"]
        try:
            megapixels = read(option, dict(zip(self.table, values[4:]))["max_pixels"])
        except SettingsError:
            megapixels = option.default
        return Output(max_pixels=megapixels).pixel_limit

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of options from what their widgets hold, both by option name. Raises: as `settings`."""
        given = {name: read(option, values[name]) for name, option in self.table.items()}
        for name in _MODELS:
            checked_model(name, given[name])
        for name, kind in _LISTS.items():
            checked_names(name, kind, given[name])
        return given

    def updates(self, settings: Settings, *, chosen: str = "", size: bool = True) -> dict[Any, Any]:
        """What the widgets show for these settings, by widget; those of the size stay as they are if `size` is false."""
        found: dict[Any, Any] = {self.cards: preset_cards(chosen)}
        for name, option in self.table.items():
            if size or option.group != "target":
                value = settings.value(option)
                found[self.widgets[name]] = "" if value is None and option.kind is str else value
        if size:
            target = settings.target
            found[self.by] = _BY[1 if target.width or target.height else 2 if target.megapixels else 0]
        found[self.creativity] = round(100 * settings.diffusion.strength**0.5)
        found[self.structure] = round(100 * settings.wavelet.consistency)
        return found


def _visible_panels(by: str) -> list[dict[str, Any]]:
    """Which of the panels for the size is shown."""
    return [gr.update(visible=by == name) for name in _BY]


def _target(
    by: str, given: dict[str, Any], width: float | None, height: float | None, dpi: float | None
) -> dict[str, Any]:
    """The size as options, from the fields that count."""
    if by == _BY[1]:
        if not given["width"] and not given["height"]:
            raise SettingsError("target.width: no size is given; fill in a width, a height or both")
        return {"width": given["width"], "height": given["height"]}
    if by == _BY[2]:
        if not given["megapixels"]:
            raise SettingsError("target.megapixels: no size is given; fill in a number of megapixels")
        return {"megapixels": given["megapixels"]}
    if by == _BY[3]:
        if not (width or height) or not dpi:
            raise SettingsError(
                "target.width: no size on paper is given; fill in a width or a height in cm, and the dpi"
            )
        return {key: round(side / 2.54 * dpi) for key, side in (("width", width), ("height", height)) if side}
    return {"scale": given["scale"]}


def model_choices(name: str) -> list[tuple[str, str]]:
    """What the list of a model offers: name with size and licence, and the name alone."""
    labels = [
        (f"{model.name} · {model.bytes / 1e6:,.0f} MB · {model.licence or model.family or model.place}", model.name)
        for model in weights.usable(_MODELS[name])
    ]
    neutral = "auto" if name == "vae" else "none"
    return [*labels, (neutral, neutral)]


def checked_names(name: str, kind: weights.Kind, value: str) -> None:
    """Nothing, if all names in a list of LoRAs or embeddings are those of installed ones; paths are refused.

    Raises:
        SettingsError: one is not.
    """
    known = [model.name for model in weights.models(kind)]
    for wanted, _ in entries(value):
        if wanted not in known:
            offer = f"choose from {', '.join(known)}" if known else "put it into the models folder first"
            raise SettingsError(f"{_PATHS[name]}: no {kind} {wanted!r}; {offer}")


def checked_model(name: str, value: str) -> str:
    """The name, if it is that of an installed model; paths and hub ids are refused.

    Raises:
        SettingsError: it is not in the list.
    """
    names = [choice for _, choice in model_choices(name)]
    if value not in names:
        raise SettingsError(f"{_PATHS[name]}: no model {value!r}; choose one of {', '.join(names)}")
    return value


def preset_cards(chosen: str = "") -> dict[str, Any]:
    """What the cards show, with one of them chosen."""
    return {"chosen": chosen, "presets": [_card(preset) for preset in presets()]}


def own_presets() -> list[str]:
    """Names of the user's presets."""
    return [preset.name for preset in presets() if not preset.builtin]


def _card(preset: Preset) -> dict[str, str]:
    sample = _SAMPLES / f"{preset.name}.webp"
    return {
        "name": preset.name,
        "title": preset.title,
        "help": preset.help,
        "sample": file_uri(sample) if preset.builtin and sample.is_file() else "",
    }
