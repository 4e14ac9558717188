"""The form: every setting as a widget, and the way from widgets to `Settings` and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from upscaler.errors import SettingsError
from upscaler.geometry import Size
from upscaler.options.settings import Output, Settings, options
from upscaler.options.spec import Option
from upscaler.pictures.files import FORMATS

from ..controls import control, read
from . import looks, sizes
from .choices import LISTS, MODELS, checked_model, checked_names, model_choices
from .components import component

LEFT_OUT = {
    "overwrite": "the app gives each result a name of its own",
    "allow_pickle": "the app reads safetensors; `upscaler models convert` makes them of pickles",
    "base": "found by name among the models",
}
"""Options without a widget, and why."""

WORDS = "what is there"
"""What stands in the place of a prompt that is still to be typed."""

WHOLE_FILES = [name for name, format in FORMATS.items() if not format.folder]
"""Formats of a single file, which a browser can show and download."""

GROUPS = (
    ("ControlNet", ("control", "control_scale", "control_start", "control_end")),
    ("LoRA and VAE", ("lora", "embedding", "vae")),
    ("Sampling", ("steps", "guidance", "scheduler", "clip_skip", "seed")),
    ("Tiles", ("tile", "overlap", "feather", "mode", "order", "wrap", "adaptive", "batch", "gan_tile")),
    ("Seams", ("seams", "seam_strength", "seam_width", "seam_steps")),
    ("Faces", ("faces", "face_model")),
    ("Colour and noise", ("wavelet_color", "wavelet_denoise")),
    ("File", ("quality", "bit_depth", "dither", "metadata", "gps", "mark_ai", "max_pixels")),
    ("Hardware", ("device", "precision", "backend", "low_vram", "storage", "compile", "memory")),
)
"""Groups of widgets under Advanced, by title."""

ADAPTERS = ("ControlNet", "LoRA and VAE")
"""Groups that are shown for models that take such things."""

CREATIVITY_HELP = "How much new detail is invented."
_TO_STRENGTH = "(c) => Math.round(c * c) / 10000"
_TO_CREATIVITY = "(s) => Math.round(100 * Math.sqrt(s))"
_TO_HELD = "(s) => [s / 100, s / 100]"
_TO_RESEMBLANCE = "(s) => Math.min(Math.round(100 * s), 100)"
_OWN: dict[str, Any] = {"fn": None, "api_visibility": "private"}


def _sentence(option: Option) -> str:
    """What an option is for, as a sentence; the words that can be chosen stay as they are."""
    help = option.spec.help
    word = re.split(r"\W", help, maxsplit=1)[0]
    return f"{help if word == 'auto' or word in option.choices else help[:1].upper() + help[1:]}."


class Form:
    """The left side of the page.

    Attributes:
        widgets: by option name, in the order of the table of settings.
        way, custom: which of the ways to say a size counts, as in `sizes`.
        print_width, print_height, dpi: a size on paper, in centimetres.
        cards, creativity, resemblance: what stands for several of the widgets at once.
        panels: what is shown for some ways to say a size alone, by the way.
        groups: of the other settings, by title; those of `ADAPTERS` are shown for some models alone.
        words: the prompts, shown for models that read them; `add_region` begins one for the marked area.
    """

    def __init__(self) -> None:
        self.table: dict[str, Option] = {option.name: option for option in options() if option.name not in LEFT_OUT}
        self.widgets: dict[str, Any] = {}
        self.groups: dict[str, Any] = {}

    def look(self) -> None:
        """Presets, and the one big slider."""
        self.cards = component("cards", looks.cards(), elem_id="presets")
        self.creativity = gr.Slider(
            0, 100, 50, step=1, label="Creativity", info=CREATIVITY_HELP, buttons=[], elem_id="creativity"
        )

    def size(self) -> None:
        """How large, in whatever unit."""
        self.way = gr.Radio(sizes.WAYS, value="×4", label="Size of the result", container=False, elem_id="way")
        self.panels: dict[str, Any] = {}
        with gr.Row(visible=False) as self.panels[sizes.PRINT]:
            self.print_width = gr.Number(30, label="Width (cm)", minimum=0, min_width=90, placeholder="auto")
            self.print_height = gr.Number(None, label="Height (cm)", minimum=0, min_width=90, placeholder="auto")
            self.dpi = gr.Number(300, label="DPI", minimum=1, min_width=90)
        with gr.Column(visible=False, elem_id="custom-size") as self.panels[sizes.CUSTOM]:
            self.custom = gr.Radio(
                sizes.CUSTOM_WAYS, value=sizes.FACTOR, label="Given as", container=False, elem_id="custom"
            )
            with gr.Row() as self.panels[sizes.FACTOR]:
                self._add("scale", number=True, info=None)
            with gr.Row(visible=False) as self.panels[sizes.PIXELS]:
                for name in ("width", "height"):
                    self._add(name, info=None, placeholder="keeps the shape", min_width=90)
            with gr.Row(visible=False) as self.panels[sizes.MEGAPIXELS]:
                self._add("megapixels", info=None, placeholder="such as 12")

    def advanced(self) -> None:
        """All other settings, group by group."""
        self._add("format", info="File format of the result; auto is PNG.")
        self._add("gan", info="Enlarges the picture, before detail is redrawn.")
        self._add("model", info="Redraws detail, tile by tile.")
        self.more_models = gr.Button("More models…", size="sm", elem_id="more-models")
        with gr.Column() as self.words:
            self._add("prompt", info=None, placeholder="What the picture shows")
            self._add("negative", info=None, placeholder="What it must not show; needs guidance above 1")
            self._add(
                "tile_prompt",
                lines=2,
                info="Left, top, right and bottom in percent. Mark an area in the picture and add it here.",
                placeholder="0,0,50,100: a red barn",
            )
            self.add_region = gr.Button("Add the marked area", size="sm", elem_id="add-region")
            self._add("prompt_everywhere")
        self.resemblance = gr.Slider(
            0,
            100,
            100,
            step=1,
            label="Resemblance",
            info="How closely the result follows the picture.",
            buttons=[],
            elem_id="resemblance",
        )
        self._add("strength", number=True, info="Creativity, as a number from 0 to 1.")
        self._add("consistency")
        for title, names in GROUPS:
            with gr.Accordion(title, open=False, visible=title not in ADAPTERS) as self.groups[title]:
                for name in names:
                    self._add(name)
        self._link()

    def _link(self) -> None:
        """Let each slider and the numbers that it stands for follow each other."""
        strength, held = self.widgets["strength"], [self.widgets[name] for name in ("consistency", "control_scale")]
        self.creativity.input(inputs=self.creativity, outputs=strength, js=_TO_STRENGTH, **_OWN)
        strength.change(inputs=strength, outputs=self.creativity, js=_TO_CREATIVITY, **_OWN)
        self.resemblance.input(inputs=self.resemblance, outputs=held, js=_TO_HELD, **_OWN)
        for widget in held:
            widget.input(inputs=widget, outputs=self.resemblance, js=_TO_RESEMBLANCE, **_OWN)

    def _add(self, name: str, **more: Any) -> None:
        if name in MODELS:
            more["choices"] = model_choices(name)
        if name == "format":
            more["choices"] = ["auto", *WHOLE_FILES]
        more.setdefault("info", _sentence(self.table[name]))
        self.widgets[name] = control(self.table[name], elem_id=name, **more)

    @property
    def fields(self) -> list[Any]:
        """All widgets that settings are read from: pass them as inputs, and their values to `settings`."""
        ways = [self.way, self.custom, self.print_width, self.print_height, self.dpi]
        return [*ways, *(self.widgets[name] for name in self.table)]

    @property
    def shown(self) -> list[Any]:
        """All widgets that `updates` may change."""
        return [*self.fields, self.resemblance, *self.panels.values()]

    @property
    def told(self) -> list[Any]:
        """What says something about the settings, and is drawn with the rest of the page."""
        return [
            self.cards,
            self.creativity,
            self.words,
            *self.groups.values(),
            *map(self.widgets.get, MODELS),
            self.widgets["lora"],
        ]

    def choices(self, family: str) -> dict[str, list[tuple[str, str]]]:
        """What the lists of models offer with a diffusion model of that family, by option."""
        return {name: model_choices(name, family if name in ("control", "vae") else "") for name in MODELS}

    def settings(self, values: Sequence[Any], *, size: bool = True, source: Size | None = None) -> Settings:
        """The settings that the values of `fields` say, or all of them but the size.

        Args:
            source: size of the picture, as for `sizes.target_options`.

        Raises:
            SettingsError: a value is out of range, or a model is not in the list.
        """
        way, custom, width, height, dpi, *rest = values
        given = self.given(dict(zip(self.table, rest)))
        target = {name: given.pop(name) for name, option in self.table.items() if option.group == "target"}
        paper = (width, height, dpi)
        return Settings.of(**given, **(sizes.target_options(way, custom, target, paper, source) if size else {}))

    def max_pixels(self, values: Sequence[Any]) -> int:
        """The largest input that the values of `fields` allow, in pixels; the usual one while there is no such number."""
        option = self.table["max_pixels"]
        try:
            megapixels = read(option, dict(zip(self.table, values[5:]))["max_pixels"])
        except SettingsError:
            megapixels = option.default
        return Output(max_pixels=megapixels).pixel_limit

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of options from what their widgets hold, both by option name. Raises: as `settings`."""
        given = {name: read(option, values[name]) for name, option in self.table.items()}
        for name in MODELS:
            checked_model(name, given[name])
        for name, kind in LISTS.items():
            checked_names(name, kind, given[name])
        return given

    def updates(self, settings: Settings, *, size: bool = True) -> dict[Any, Any]:
        """What the widgets show for these settings, by widget; those of the size stay as they are if `size` is false.

        The slider for creativity is not among them: it follows the strength.
        """
        found: dict[Any, Any] = {}
        for name, option in self.table.items():
            if size or option.group != "target":
                value = settings.value(option)
                found[self.widgets[name]] = "" if value is None and option.kind is str else value
        if size:
            found[self.way], found[self.custom] = sizes.way_of(settings.target)
            found |= self.visible(found[self.way], found[self.custom])
        found[self.resemblance] = round(100 * settings.wavelet.consistency)
        return found

    def visible(self, way: str, custom: str) -> dict[Any, Any]:
        """Which of the panels for a size are shown."""
        kinds = {sizes.CUSTOM: gr.Column}
        return {
            panel: kinds.get(name, gr.Row)(visible=name == way or (way == sizes.CUSTOM and name == custom))
            for name, panel in self.panels.items()
        }

    def at_size(self, source: Size, size: Size, dpi: float) -> dict[Any, Any]:
        """What the fields for a size show where a result of that size is wanted."""
        found = sizes.same_size(source, size, dpi)
        return {self.print_width: found.pop("print_width"), self.print_height: None} | {
            self.widgets[name]: value for name, value in found.items()
        }
