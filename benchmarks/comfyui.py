"""Our node against Ultimate SD Upscale in a real ComfyUI: the same API workflow, with only `class_type` changed.

    python -m benchmarks.comfyui --comfyui DIR --anchor DIR [--python PY] [--sides 1024 2048] [--repeats 3]

`--comfyui` is a checkout of ComfyUI, `--anchor` one of ComfyUI_UltimateSDUpscale with its submodule, `--python` an
interpreter that has ComfyUI's requirements and ours. The host is started here, on the CPU, with a small Stable Diffusion
1.5 of random weights and a tiny autoencoder: for times and memory, never for quality. The nodes take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import PIL.Image
from upscaler_ui.install import install

from tests.comfyui.checkpoint import make_models
from tests.comfyui.host import Host, Workflow

ROOT = Path(__file__).parents[1]
SCALE = 4
WARM = 512  # side of the canvas of the runs that do not count
NODES = {"ours": "TDU_Upscale", "anchor": "UltimateSDUpscale"}
UPSCALE, PROBE = "6", "9"


@dataclass(frozen=True)
class Measured:
    """One run of a node.

    Attributes:
        seconds: of the node.
        network, autoencoder: of these, in the diffusion model and in the autoencoder.
        cpu: seconds of all cores; on a machine with other work they say more than the clock.
        tiles: that the diffusion model saw.
        areas: pixels of these over those of the canvas.
        peak: MiB of the host's process.
    """

    seconds: float
    network: float
    autoencoder: float
    cpu: float
    tiles: float
    areas: float
    peak: float


def workflow(node: str, side: int, steps: int) -> Workflow:
    """A photograph enlarged to `side` pixels, with the probe around what the node does."""
    inputs = {
        "image": ["4", 0], "model": ["8", 0], "positive": ["2", 0], "negative": ["3", 0], "vae": ["8", 1],
        "upscale_model": ["5", 0], "upscale_by": float(SCALE), "seed": 1, "steps": steps, "cfg": 1.0,
        "sampler_name": "euler", "scheduler": "normal", "denoise": 0.3, "mode_type": "Linear", "tile_width": 512,
        "tile_height": 512, "mask_blur": 8, "tile_padding": 32, "seam_fix_mode": "None", "seam_fix_denoise": 1.0,
        "seam_fix_width": 64, "seam_fix_mask_blur": 8, "seam_fix_padding": 16, "force_uniform_tiles": True,
        "tiled_decode": False, "batch_size": 1,
    }  # fmt: skip
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "random.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a hill in autumn"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
        "4": {"class_type": "LoadImage", "inputs": {"image": f"photo{side // SCALE}.png"}},
        "5": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "compact.pth"}},
        "8": {"class_type": "BenchmarkStart", "inputs": {"model": ["1", 0], "vae": ["1", 2]}},
        UPSCALE: {"class_type": NODES[node], "inputs": inputs},
        PROBE: {"class_type": "BenchmarkStop", "inputs": {"images": [UPSCALE, 0]}},
    }


def measure(host: Host, node: str, side: int, steps: int) -> Measured:
    """Raises: RuntimeError, if the host could not run the workflow."""
    run = host.run(workflow(node, side, steps))
    if run.ended != "execution_success":
        raise RuntimeError(f"{node}: {run.of('execution_error')}")
    starts = {message["data"]["node"]: at for at, message in run.messages if message["type"] == "executing"}
    seen: dict[str, Any] = json.loads(run.outputs[PROBE]["text"][0])
    assert seen["size"] == [side, side], seen
    return Measured(
        seconds=starts[PROBE] - starts[UPSCALE],
        network=seen["network"],
        autoencoder=seen["autoencoder"],
        cpu=seen["cpu"],
        tiles=seen["tiles"] / steps,
        areas=seen["pixels"] / steps / side**2,
        peak=seen["peak"],
    )


def prepare(base: Path, program: Path, anchor: Path, sides: list[int]) -> None:
    """Make a folder for the host's data: both packs, the probe, models and pictures."""
    if not any(anchor.glob("repositories/*/scripts/*.py")):
        raise SystemExit(f"{anchor}: its submodule is missing; run `git submodule update --init` there")
    for name in ("custom_nodes", "input", "models"):
        (base / name).mkdir()
    install("comfyui", base)
    shutil.copytree(anchor, base / "custom_nodes" / "ComfyUI_UltimateSDUpscale", ignore=shutil.ignore_patterns(".git*"))
    shutil.copy(Path(__file__).with_name("comfyui_probe.py"), base / "custom_nodes")
    make_models(base / "models", program)
    with PIL.Image.open(ROOT / "examples" / "photo.png") as photo:
        for side in {side // SCALE for side in (WARM, *sides)}:
            photo.convert("RGB").resize((side, side)).save(base / "input" / f"photo{side}.png")


def compare(host: Host, sides: list[int], repeats: int, steps: int) -> None:
    """Print the table; the nodes take turns, after a run of each that does not count."""
    for node in NODES:
        measure(host, node, WARM, 1)
    print(HEAD, flush=True)
    for side in sides:
        runs: dict[str, list[Measured]] = {node: [] for node in NODES}
        for _ in range(repeats):
            for node, measured in runs.items():
                measured.append(measure(host, node, side, steps))
        ours, anchor = (typical(measured) for measured in runs.values())
        for node, middle in zip(NODES, (ours, anchor)):
            print(line(f"{side}²", node, middle) + "  " + " ".join(f"{run.seconds:.1f}" for run in runs[node]))
        print(
            f"{side}²: ours / anchor, by the clock {ours.seconds / anchor.seconds:.3f}, by CPU {ours.cpu / anchor.cpu:.3f}",
            flush=True,
        )


def typical(measured: list[Measured]) -> Measured:
    """The median of each figure."""
    return Measured(**{f.name: statistics.median(getattr(run, f.name) for run in measured) for f in fields(Measured)})


HEAD = "canvas  node    seconds  network  autoencoder  other  CPU s  tiles  areas  peak MiB  each (s)"


def line(canvas: str, node: str, run: Measured) -> str:
    other = run.seconds - run.network - run.autoencoder
    return (
        f"{canvas:<7} {node:<7} {run.seconds:>7.1f} {run.network:>8.1f} {run.autoencoder:>12.1f} {other:>6.1f} {run.cpu:>6.1f} "
        f"{run.tiles:>6.0f} {run.areas:>6.2f} {run.peak:>9.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, metavar="DIR")
    parser.add_argument("--anchor", type=Path, required=True, metavar="DIR")
    parser.add_argument("--python", default=sys.executable, metavar="PY")
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048], metavar="PX")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=4, metavar="N")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        prepare(base, given.comfyui, given.anchor, given.sides)
        host = Host(given.comfyui, given.python, base)
        try:
            compare(host, given.sides, given.repeats, given.steps)
        finally:
            host.close()


if __name__ == "__main__":
    main()
