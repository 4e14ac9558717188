"""Put a trained model into weights/pocket and its checksums into weights/manifest.toml.

python -m training.ship RUN [--keep 0]   # of a run of training.train; --keep 0 after one of training.detail
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = Path(__file__).parent.parent / "weights"
ENTRY = """
[[model]]
name = "pocket"
kind = "diffusion"
path = "pocket"
architecture = "conditional diffusion on Haar wavelet packets (PocketUNet, 6 residual blocks of 256, {count:,} parameters)"
licence = "Apache-2.0"
author = "the upscaler project"
source = "training/ of this project; see pocket/README.md"
description = "photographs; takes no prompt; the default"
[model.files]
"""


def keep_finest(path: Path, keep: float) -> None:
    """Let the last layer correct less the finer a band is, and the finest by `1 - keep` only.

    The network's own finest detail is a mesh: that is what a loss on the strength of texture is cheapest served by. The
    picture that is refined has natural detail there, if not the right one.
    """
    tensors = load_file(path)
    line = torch.arange(8.0)
    frequency = ((line[:, None] ** 2 + line**2) / 2).sqrt().flatten() / 7
    share = (1 - keep * frequency**2 * (3 - 2 * frequency)).repeat(3)
    for name in ("conv_out.weight", "conv_out.bias"):
        tensor = tensors[name].float()
        tensors[name] = (tensor * share.view(-1, *[1] * (tensor.ndim - 1))).half()
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def mix_detail(path: Path, default: tuple[float, float], rich: tuple[float, float]) -> None:
    """Set how much of the calm and of the rich detail, as they were trained, is drawn by default and at strength 1.

    The last convolution is all that follows them, so this is a mixture of its rows.
    """
    tensors = load_file(path)
    for name in ("detail.conv_out.weight", "detail.conv_out.bias"):
        calm, more = tensors[name].float().chunk(2)
        drawn = [share[0] * calm + share[1] * more for share in (default, rich)]
        tensors[name] = torch.cat([drawn[0], drawn[1] - drawn[0]]).half()
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training run")
    parser.add_argument(
        "--keep",
        type=float,
        default=0.8,
        help="how much of the finest band stays that of the GAN, 0 to 1 (0: as trained)",
    )
    parser.add_argument(
        "--default", type=float, nargs=2, metavar=("CALM", "RICH"), default=(1, 0), help="detail drawn by default"
    )
    parser.add_argument(
        "--rich", type=float, nargs=2, metavar=("CALM", "RICH"), default=(1, 1), help="and at strength 1"
    )
    options = parser.parse_args()
    shutil.copytree(options.run / "pocket", WEIGHTS / "pocket", dirs_exist_ok=True)
    weights = WEIGHTS / "pocket" / "unet" / "diffusion_pytorch_model.safetensors"
    keep_finest(weights, options.keep)
    if "detail.conv_out.weight" in load_file(weights):
        mix_detail(weights, options.default, options.rich)
    count = sum(tensor.numel() for name, tensor in load_file(weights).items() if name.endswith(("weight", "bias")))
    for log in options.run.glob("*.csv"):
        shutil.copy(log, Path(__file__).parent / log.name)
    lines = []
    for path in sorted((WEIGHTS / "pocket").rglob("*")):
        if path.suffix in (".json", ".safetensors"):
            content = path.read_bytes()
            name = path.relative_to(WEIGHTS).as_posix()
            lines.append(f'"{name}" = {{ bytes = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}" }}\n')
    manifest = WEIGHTS / "manifest.toml"
    text = re.sub(
        r'\n\[\[model\]\]\nname = "pocket"\n.*?(?=\n\[\[model\]\]|\Z)', "", manifest.read_text("utf-8"), flags=re.DOTALL
    )
    manifest.write_text(text.rstrip("\n") + "\n" + ENTRY.format(count=count) + "".join(lines), "utf-8")


if __name__ == "__main__":
    main()
