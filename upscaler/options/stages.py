"""Settings of the first stage, of the faces, of what keeps the result true to the input, and of the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from .spec import Group, Spec

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Backend = Literal["auto", "torch", "openvino"]
Storage = Literal["auto", "float8"]


@dataclass(frozen=True, kw_only=True)
class Gan(Group):
    """The first stage: super-resolution by a convolutional network."""

    model: Annotated[
        str, Spec.of("super-resolution model: a name, a .safetensors or .pth file, or none", "--gan", "-n")
    ] = "realesrgan-x4plus"
    tile: Annotated[
        int,
        Spec.of(
            "side of the pieces in which the input is enlarged, without their context",
            "--gan-tile",
            low=32,
            high=4096,
            step=32,
            unit="px",
        ),
    ] = 512


@dataclass(frozen=True, kw_only=True)
class Faces(Group):
    """The last stage: faces drawn anew by a network that was trained on nothing else."""

    strength: Annotated[
        float,
        Spec.of("restore faces: 0 not at all, 1 as the face model draws them", "--faces", low=0, high=1, step=0.05),
    ] = 0.0
    model: Annotated[str, Spec.of("which face model: a name, or a file of GFPGAN or RestoreFormer", "--face-model")] = (
        "gfpgan-1.4"
    )


@dataclass(frozen=True, kw_only=True)
class Wavelet(Group):
    """What keeps the result true to the input: colour, noise, and the input's own pixels."""

    color: Annotated[
        float, Spec.of("lock colour and tone to the enlarged picture", "--wavelet-color", low=0, high=1, step=0.05)
    ] = 1.0
    denoise: Annotated[
        float,
        Spec.of(
            "remove high-frequency noise that the diffusion pass added", "--wavelet-denoise", low=0, high=1, step=0.05
        ),
    ] = 0.5
    consistency: Annotated[
        float, Spec.of("make the result, scaled down, match the input", "--consistency", low=0, high=1, step=0.05)
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class Hardware(Group):
    """What it runs on."""

    device: Annotated[
        str,
        Spec.of(
            "auto, cpu, cuda, cuda:N, mps, or several GPUs as cuda:0,cuda:1",
            "--device",
            pattern=r"auto|cpu|mps|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+",
        ),
    ] = "auto"
    precision: Annotated[
        Precision, Spec.of("number format of the models; auto is the fastest here, found by trying", "--precision")
    ] = "auto"
    backend: Annotated[
        Backend,
        Spec.of("library that runs the super-resolution model; auto is the fastest that is installed", "--backend"),
    ] = "auto"
    low_vram: Annotated[
        bool,
        Spec.of(
            "keep only the part of the diffusion model that is in use on the GPU; up to 64 tiles are encoded, then sampled, "
            "then decoded, so that each part moves once",
            "--low-vram",
        ),
    ] = False
    storage: Annotated[
        Storage,
        Spec.of(
            "how the weights of the diffusion model are kept: float8 takes half the memory and changes the picture a little",
            "--storage",
        ),
    ] = "auto"
    compile: Annotated[
        bool,
        Spec.of(
            "compile the diffusion model with torch for this machine: slow at first, then each tile is faster; worth it for "
            "many tiles",
            "--compile",
        ),
    ] = False
    memory: Annotated[
        str,
        Spec.of(
            "memory that a run may take on its device, such as 6GB: batch, tile and low-vram are chosen to fit; auto is "
            "all that is free",
            "--memory",
            pattern=r"auto|\d{1,5}(\.\d+)? ?[GM](i?B)?",
        ),
    ] = "auto"

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes, by units of 1024; `None` for auto."""
        if self.memory == "auto":
            return None
        number, unit = re.fullmatch(r"([\d.]+) ?([GM]).*", self.memory).groups()  # pyright: ignore[reportOptionalMemberAccess]
        return round(float(number) * (2**30 if unit == "G" else 2**20))
