"""The models that the form offers to choose from, and whether what it sends is one of them."""

from __future__ import annotations

from upscaler import weights
from upscaler.errors import SettingsError
from upscaler.options.loras import entries
from upscaler.options.settings import Faces, options

MODELS: dict[str, weights.Kind] = {
    "gan": "gan",
    "model": "diffusion",
    "control": "control",
    "vae": "vae",
    "face_model": "face",
}
"""Options that name one model, with its kind."""

LISTS: dict[str, weights.Kind] = {"lora": "lora", "embedding": "embedding"}
"""Options that name several."""

_NEUTRAL = {"vae": "auto", "face_model": Faces().model}  # what stands there without a choice; of the others none
_PATHS = {option.name: option.path for option in options()}


def model_choices(name: str, family: str = "") -> list[tuple[str, str]]:
    """What the list of a model offers: name with size and licence, and the name alone.

    Args:
        family: leave out those of which it is known that they are of another one.
    """
    labels = [
        (f"{model.name} · {model.bytes / 1e6:,.0f} MB · {model.licence or model.family or model.place}", model.name)
        for model in weights.usable(MODELS[name])
        if not family or model.family in ("", family)
    ]
    neutral = _NEUTRAL.get(name, "none")
    return labels if any(neutral == value for _, value in labels) else [*labels, (neutral, neutral)]


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
