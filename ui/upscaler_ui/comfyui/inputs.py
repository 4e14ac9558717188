"""The nodes' inputs, made of the table of settings, under the names that Ultimate SD Upscale gave them where there are any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ....upscaler import weights
from ....upscaler.errors import SettingsError
from ....upscaler.geometry import Size
from ....upscaler.options.settings import Settings, options
from ....upscaler.options.spec import Option

HOST = {
    "prompt": "positive",
    "negative": "negative",
    "scheduler": "sampler_name and scheduler",
    "model": "model",
    "vae": "vae",
    "lora": "the LoRA nodes",
    "embedding": "embedding:NAME in the prompt",
    "clip_skip": "CLIP Set Last Layer",
    "allow_pickle": "the host's own loaders",
    "base": "model",
    "tile_prompt": "Conditioning (Set Area)",
    "prompt_everywhere": "positive",
    "control": "the ControlNet nodes",
    "control_scale": "the ControlNet nodes",
    "control_start": "the ControlNet nodes",
    "control_end": "the ControlNet nodes",
    "mode": "none: the host's sampler takes the steps, tile by tile",
    "wrap": "none: hints, areas and masks of the host do not go around a picture",
    "faces": "the face detailers for ComfyUI",
    "face_model": "the face detailers for ComfyUI",
    "device": "the host's own choice",
    "precision": "the host's own choice",
    "backend": "the fastest, found by trying",
    "low_vram": "the host's own choice",
    "storage": "the host's own loaders",
    "compile": "TorchCompileModel",
    "memory": "the host's own choice",
}
"""Settings that are not inputs of their own, and what of the host stands for them; for `output.*` it is SaveImage."""

CATEGORY = "image/upscaling/tiled diffusion"
_OFF = "None"


@dataclass(frozen=True)
class Renamed:
    """An input that stands for an option under another name, or in other units.

    Attributes:
        changes: arguments of the widget that differ from what the option says.
        read: the option's value from the input's.
    """

    name: str
    changes: Mapping[str, Any] | None = None
    read: Callable[[Any], Any] = lambda value: value


def _one_of(name: str, table: Mapping[str, str]) -> Callable[[str], str]:
    """Reads a choice; the host does not check the choices of a workflow in API format."""

    def read(value: str) -> str:
        if value not in table:
            raise SettingsError(f"{name}: {value!r} is not allowed; give one of {', '.join(table)}")
        return table[value]

    return read


_ORDERS = {"Independent": "independent", "Linear": "linear", "Chess": "chess", _OFF: "independent"}
_SEAMS = {
    "Auto": "auto",
    _OFF: "none",
    "Band Pass": "band",
    "Half Tile": "half-tile",
    "Half Tile + Intersections": "half-tile+intersections",
}
_RENAMED = {
    "scale": Renamed("upscale_by", {"step": 0.05}),
    "strength": Renamed("denoise", {"tooltip": "how much is redrawn: 0.15 to 0.35 keeps the picture"}),
    "steps": Renamed("steps", {"default": 12, "min": 1}),
    "guidance": Renamed("cfg", {"default": 6.0, "min": 0.0, "max": 100.0, "step": 0.1}),
    "seed": Renamed("seed", {"max": 2**64 - 1}, lambda seed: seed % 2**63),
    "overlap": Renamed(
        "tile_padding",
        {
            "default": 32,
            "min": 0,
            "max": 8192,
            "tooltip": "what a tile has beyond its width and height, and what neighbours share at least (px)",
        },
    ),
    "feather": Renamed(
        "mask_blur",
        {
            "default": 8,
            "min": 0,
            "max": 64,
            "step": 1,
            "tooltip": "softness of the cross-fade between tiles: it is four times as wide, within the padding",
        },
        lambda blur: 4 * blur,
    ),
    "order": Renamed(
        "mode_type",
        {
            "options": list(_ORDERS),
            "default": "Independent",
            "tooltip": "Independent: all tiles from one picture, in batches; Linear and Chess: later tiles see finished "
            "ones; None: nothing is redrawn",
        },
        _one_of("mode_type", _ORDERS),
    ),
    "batch": Renamed("batch_size", {"max": 4096}, lambda batch: min(batch, 1024)),
    "seams": Renamed("seam_fix_mode", {"options": list(_SEAMS), "default": "Auto"}, _one_of("seam_fix_mode", _SEAMS)),
    "seam_width": Renamed("seam_fix_width", {"min": 0, "max": 8192}, lambda width: min(max(width, 8), 1024)),
    "seam_steps": Renamed("seam_steps", {"default": 8, "min": 1}),
    "gan": Renamed("gan", {"tooltip": "super-resolution model where no upscale_model is connected"}),
}
_SIDES = {"tile_width": "width", "tile_height": "height"}  # both for `tile`


def row(name: str) -> Option:
    """The option of that name."""
    return next(option for option in options() if option.name == name)


def offered() -> list[Option]:
    """The options that the node for a whole run has inputs for."""
    return [option for option in options() if option.name not in HOST and option.group != "output"]


def names(option: Option) -> tuple[str, ...]:
    """Ids of the inputs that stand for an option."""
    if option.name == "tile":
        return tuple(_SIDES)
    return (_RENAMED[option.name].name if option.name in _RENAMED else option.name,)


def widgets(option: Option, *, required: bool = False) -> list[io.Input]:
    """The inputs that stand for an option. A number that may be left out is 0 then."""
    if option.name == "tile":
        tip = "{} of a tile as the model sees it (px); 0 is what the model was trained on"
        return [
            io.Int.Input(name, optional=not required, default=0, min=0, max=8192, step=8, tooltip=tip.format(side))
            for name, side in _SIDES.items()
        ]
    spec, renamed = option.spec, _RENAMED.get(option.name, Renamed(option.name))
    common: dict[str, Any] = {"tooltip": spec.help + (f" ({spec.unit})" if spec.unit else "")}
    common |= {"id": renamed.name, "optional": not required, "default": option.default}
    changes = dict(renamed.changes or {})
    if option.name == "gan":
        changes["options"] = [*(model.name for model in weights.usable("gan")), "none"]
    if option.choices or "options" in changes:
        return [io.Combo.Input(**{**common, "options": list(option.choices), **changes})]
    if option.kind is bool:
        return [io.Boolean.Input(**{**common, **changes})]
    if option.kind is str:
        return [io.String.Input(**{**common, **changes})]
    common |= {"min": 0 if option.optional else spec.low, "max": spec.high, "step": spec.step or 1}
    if option.optional:
        common |= {"default": 0, "tooltip": common["tooltip"] + "; 0 leaves it to upscale_by"}
    if option.kind is float:
        common["step"] = spec.step or 0.1
        return [io.Float.Input(**{**common, **changes})]
    if option.name == "seed":
        common["control_after_generate"] = True
    return [io.Int.Input(**{**common, **changes})]


def rows(*names: str, required: bool = False) -> list[io.Input]:
    """The inputs that stand for the options of these names."""
    return [widget for name in names for widget in widgets(row(name), required=required)]


def sampling_widgets() -> list[io.Input]:
    """The host's own choices."""
    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    return [
        io.Combo.Input("sampler_name", options=list(samplers), default="euler"),
        io.Combo.Input("scheduler", options=list(schedulers), default="simple"),
    ]


def settings_of(inputs: Mapping[str, Any], source: Size, *, native_tile: int = 512, **fixed: Any) -> Settings:
    """The settings that a node's inputs say, for a picture of size `source`; those that are not given are defaults.

    Args:
        native_tile: what a tile side of 0 stands for.
        fixed: options by name, over all others.

    Raises:
        SettingsError: an input is out of range.
    """
    values: dict[str, Any] = {}
    for option in offered():
        (name, *_) = names(option)
        if option.name == "tile" or (value := inputs.get(name, _default(option))) is None:
            continue
        if option.optional and not value:
            continue
        values[option.name] = _RENAMED[option.name].read(value) if option.name in _RENAMED else value
    if inputs.get("mode_type") == _OFF:
        values["strength"] = 0.0
    values.pop("guidance", None)  # the host's sampler has it, in its own range
    if {"width", "height", "megapixels"} & values.keys():
        values.pop("scale", None)
    values |= fixed
    # as users of Ultimate SD Upscale mean it: what the model sees is a tile and its padding once, and neighbours share the padding
    padding = values["overlap"]
    width = inputs.get("tile_width") or inputs.get("tile_height") or native_tile
    sides = Size(width, inputs.get("tile_height") or width)
    values["overlap"] = min(padding, min(sides) // 2)
    values["feather"] = min(values["feather"], values["overlap"])
    tile = str(width + values["overlap"])
    if sides.width != sides.height:  # as many tiles as these sides need
        target = Settings.of(**values).target.of(source)
        columns, rows = (max(-(-(length - values["overlap"]) // side), 1) for length, side in zip(target, sides))
        tile = f"{columns}x{rows}"
    return Settings.of(**values, tile=tile)


def _default(option: Option) -> Any:
    (widget,) = widgets(option)
    return widget.as_dict()["default"]
