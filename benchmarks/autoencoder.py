"""What coding a tile with Stable Diffusion's own autoencoder costs, in each way to run it, and how far it is from float32.

    python -m benchmarks.autoencoder [--side 512] [--rounds 1] [--threads 1] [--vae FOLDER]

The ways run in turn, in this process: float32 as torch lays it out, float32 with channels last, all in bfloat16, and as it is
run here beside a network in bfloat16: convolutions in bfloat16, sums in float32, and less work where maps are doubled. Times
are seconds of the processor, the least of the rounds. Distances are of the decoded picture, in 1/255, mean and most. Without
a folder of an `AutoencoderKL` the weights are random, in the shape of Stable Diffusion 1.5's; what they decode is as far from
a picture as it gets, so distances are those of the worst case.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from upscaler import weights
from upscaler.models.device import convert
from upscaler.models.diffusion.autoencoder import VaeCodec, ready_codec

CPU = torch.device("cpu")


def ways(vae: Any) -> dict[str, Callable[[], VaeCodec]]:
    def half() -> VaeCodec:
        other = copy.deepcopy(vae).to(memory_format=torch.channels_last)
        convert(other, torch.bfloat16)
        return VaeCodec(other)

    return {
        "float32": lambda: VaeCodec(vae),
        "float32 channels-last": lambda: ready_codec(copy.deepcopy(vae), CPU, torch.float32),
        "bfloat16 channels-last": half,
        "bfloat16, sums in float32": lambda: ready_codec(copy.deepcopy(vae), CPU, torch.bfloat16),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vae", type=Path)
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    torch.manual_seed(0)
    source: Any = parsed.vae or weights.family_folder("sd1") / "vae"
    config: Any = AutoencoderKL.load_config(source)
    made: Any = AutoencoderKL.from_pretrained(source) if parsed.vae else AutoencoderKL.from_config(config)
    vae = made.eval().requires_grad_(False)
    image = torch.rand(1, 3, parsed.side, parsed.side) * 2 - 1
    first: tuple[float, torch.Tensor] | None = None
    print(
        f"{'':28} {'encode':>7} {'decode':>7} {'both':>7} {'ratio':>6} {'mean':>6} {'most':>6}   ({parsed.threads} threads)"
    )
    latents = None
    for name, make in ways(vae).items():
        codec = make()
        seconds, pixels = [float("inf")] * 2, torch.empty(0)
        for _ in range(parsed.rounds):
            start = time.process_time()
            coded = codec.encode(image)
            middle = time.process_time()
            latents = coded if latents is None else latents
            pixels = codec.decode(latents).clamp(-1, 1)
            seconds = [min(seconds[0], middle - start), min(seconds[1], time.process_time() - middle)]
        first = first or (sum(seconds), pixels)
        far = (pixels - first[1]).abs() * 127.5
        print(
            f"{name:28} {seconds[0]:7.1f} {seconds[1]:7.1f} {sum(seconds):7.1f} {first[0] / sum(seconds):5.2f}x "
            f"{far.mean():6.2f} {far.max():6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
