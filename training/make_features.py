"""What the detail of "pocket" is trained on: its first stack's estimate of each pair, computed once.

    python -m training.make_features --pairs PAIRS --output FEATURES [--model weights/pocket] [--draws 2]

A file of pairs becomes, for each of its bases and each draw, two files in FEATURES: <name>-<base>-<draw>-x<factor>.hidden.npy,
the features (width, h, w), and .planes.npy, the brightness (4, H, W) of photograph, base, estimate, and noise; both float16.
Half of the draws start at the full strength, the others anywhere above. What exists is not made again.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch

from training.train import LAST, begun
from upscaler.models.diffusion.haar import HaarCodec
from upscaler.models.diffusion.pocket import PocketUNet

FULL = 0.25  # strength at which the correction is whole
WEIGHTS = Path(__file__).parent.parent / "weights" / "pocket"


@torch.no_grad()
def features(
    network: PocketUNet, codec: HaarCodec, pair: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features (width, h, w) and planes (4, H, W) of a pair (2, H, W, 3) uint8, float16."""
    photo, base = (torch.from_numpy(part).permute(2, 0, 1)[None].float() / 127.5 - 1 for part in pair)
    latents = codec.encode(base)
    noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    strength = FULL if rng.random() < 0.5 else rng.uniform(FULL, 1)
    timestep = torch.tensor([max(round(LAST * strength), 1) - 1])
    with torch.autocast("cpu", torch.bfloat16):
        mean, hidden, seen = network.estimate(begun(latents, noise, timestep), timestep, latents)
    root = 3**0.5
    planes = [(part.mean(dim=1, keepdim=True) * root) for part in (photo, base, codec.decode(mean), codec.decode(seen))]
    return hidden[0].half().numpy(), torch.cat(planes, dim=1)[0].half().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, nargs="+", help="folders of make_pairs")
    parser.add_argument("--output", type=Path, required=True, help="folder for the features")
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="model folder of the first stack")
    parser.add_argument("--draws", type=int, default=2, help="of strength and noise for each costly base")
    options = parser.parse_args()

    network = PocketUNet.from_pretrained(options.model / "unet")
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    codec = HaarCodec()
    options.output.mkdir(parents=True, exist_ok=True)
    for path in (path for folder in options.pairs for path in sorted(folder.glob("*-x*.npy"))):
        rows = np.load(path, mmap_mode="r")
        name, factor = path.stem.rsplit("-x", 1)
        for base in range(1, len(rows)):
            for draw in range(options.draws if len(rows) == 4 and base == 1 else 1):
                target = options.output / f"{name}-{base + 4 - len(rows)}-{draw}-x{factor}.hidden.npy"
                if target.exists():
                    continue
                rng = np.random.default_rng(zlib.crc32(target.name.encode()))
                hidden, planes = features(network, codec, np.array(rows[[0, base]]), rng)
                np.save(target.with_name(target.name.replace("hidden", "planes")), planes)
                np.save(target.with_suffix(".part.npy"), hidden)
                target.with_suffix(".part.npy").replace(target)


if __name__ == "__main__":
    main()
