"""Lays LoRAs over a checkpoint, and teaches its text encoders new words (textual inversion); both through diffusers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ... import families, weights
from ...errors import SettingsError, UnsupportedModel
from ...options.loras import entries, names
from ...text import one_line
from ..device import is_out_of_memory
from .states import State, read_state


def adapt(
    unet: Any,
    encoders: Sequence[tuple[Any, Any]],
    *,
    lora: str,
    embedding: str,
    sdxl: bool,
    allow_pickle: bool = False,
) -> None:
    """Change a UNet, and text models with their tokenizers, in place.

    LoRAs are added to the weights once, so that an evaluation costs what it did.

    Args:
        encoders: pairs of (tokenizer, text model): one, or two for SDXL.
        lora, embedding, allow_pickle: as in `settings.Diffusion`.

    Raises:
        WeightsNotFound: there is none of that name.
        UnsupportedModel: a file is something else, or was made for another family.
        SettingsError: a weight is out of range.
    """
    if not (lora or embedding):
        return
    with _quiet():
        pipeline = _pipeline(unet, encoders, sdxl=sdxl)
        for name in names(embedding):
            path = weights.find(name, "embedding")
            _teach(pipeline, path, _checked(path, "embedding", allow_pickle), encoders)
        wanted = entries(lora)
        for index, (name, _) in enumerate(wanted):
            path = weights.find(name, "lora")
            _load(pipeline, path, _checked(path, "lora", allow_pickle), f"lora{index}", sdxl=sdxl)
        if wanted:
            labels = [f"lora{index}" for index in range(len(wanted))]
            pipeline.set_adapters(labels, [weight for _, weight in wanted])
            pipeline.fuse_lora(components=_components(pipeline), adapter_names=labels)
            pipeline.unload_lora_weights()


def _pipeline(unet: Any, encoders: Sequence[tuple[Any, Any]], *, sdxl: bool) -> Any:
    """The parts as a pipeline of diffusers, whose loaders know every format. It is never run."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    parts: dict[str, Any] = {"vae": None, "unet": unet, "scheduler": EulerDiscreteScheduler(steps_offset=1)}
    if sdxl:
        pairs = [(None, None)] * (2 - len(encoders)) + list(encoders)  # the refiner has the second alone
        for suffix, (tokenizer, model) in zip(("", "_2"), pairs):
            parts |= {f"tokenizer{suffix}": tokenizer, f"text_encoder{suffix}": model}
        return StableDiffusionXLPipeline(**parts, add_watermarker=False)
    tokenizer, model = encoders[0]
    parts |= {"tokenizer": tokenizer, "text_encoder": model, "safety_checker": None, "feature_extractor": None}
    return StableDiffusionPipeline(**parts, requires_safety_checker=False)


def _components(pipeline: Any) -> list[str]:
    """Those of the parts that LoRAs can change."""
    return [name for name in ("unet", "text_encoder", "text_encoder_2") if getattr(pipeline, name, None) is not None]


def _load(pipeline: Any, path: Path, state: State, label: str, *, sdxl: bool) -> None:
    try:
        pipeline.load_lora_weights(dict(state), adapter_name=label)
    except Exception as error:  # diffusers and peft raise many kinds about a file that does not fit
        if is_out_of_memory(error):
            raise
        family = "SDXL" if sdxl else "SD 1.x or 2.x"
        raise UnsupportedModel(
            f"{path}: this LoRA does not fit the diffusion model, which is {family} ({one_line(error)}); name one that was "
            "made for that family"
        ) from error
    if not any(label in found for found in pipeline.get_list_adapters().values()):
        raise UnsupportedModel(f"{path}: nothing in this LoRA fits the diffusion model; name one for its family")


def _teach(pipeline: Any, path: Path, state: State, encoders: Sequence[tuple[Any, Any]]) -> None:
    """Make the file's name a word of the prompt."""
    word = path.stem
    pairs = _vectors(path, state, len(encoders))
    for (tokenizer, model), vector in zip(encoders, pairs):
        width = model.get_input_embeddings().weight.shape[1]
        if vector.shape[-1] != width:
            raise UnsupportedModel(
                f"{path}: this embedding has vectors of {vector.shape[-1]}, the model's text encoder of {width}; name one "
                "that was made for its family"
            )
        if word in tokenizer.get_vocab():
            raise SettingsError(f"diffusion.embedding: {word!r} is a word already; give the file {path} another name")
        pipeline.load_textual_inversion({word: vector}, token=word, text_encoder=model, tokenizer=tokenizer)


def _vectors(path: Path, state: State, count: int) -> list[torch.Tensor]:
    """The vectors (n, width) for each encoder, from a file of WebUI, of SDXL's kind, or of diffusers."""
    if "clip_l" in state and "clip_g" in state:
        both = [state["clip_l"], state["clip_g"]]
        if count == 2:
            return both
        raise UnsupportedModel(
            f"{path}: this embedding is for SDXL, and the diffusion model is not; name one for its family"
        )
    if count > 1:
        raise UnsupportedModel(f"{path}: this embedding is not for SDXL (no clip_l and clip_g in it); name one that is")
    vector = state.get("emb_params", next(iter(state.values())))
    return [vector if vector.ndim == 2 else vector[None]]


def _checked(path: Path, kind: families.Kind, allow_pickle: bool) -> State:
    contents = families.contents_of(path)
    one_vector = kind == "embedding" and contents.kind is None and not path.is_dir()  # diffusers names it by its word
    if path.is_dir() or not (contents.kind == kind or one_vector):
        what = {"lora": "a LoRA", "embedding": "a textual inversion embedding"}[kind]
        raise UnsupportedModel(
            f"{path}: is not {what}; it {contents.problem or f'holds a {contents.family} checkpoint'}"
        )
    return read_state(path, allow_pickle=allow_pickle)


@contextmanager
def _quiet() -> Generator[None]:
    """Run the block without the remarks of the libraries: what matters of them is raised."""
    logs = [logging.getLogger(name) for name in ("diffusers", "peft", "transformers")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)
