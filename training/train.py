"""Train the bundled diffusion model "pocket" on the pairs that make_pairs wrote.

    python -m training.train --pairs PAIRS --run RUN --minutes 85 [--resume | --init weights/pocket] [--device cuda]

RUN gets state.pt (to resume from), log.csv and pocket/, the model as it is shipped; all are written every five minutes
and at the end. The learning rate falls to zero at the end of `--minutes`, whatever number of steps that is.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from training.losses import losses
from training.optimiser import Average, Muon
from training.pairs import Pairs
from upscaler.models.diffusion.haar import HaarCodec
from upscaler.models.diffusion.pocket import PocketUNet

LAST = 1000  # timesteps
STRENGTHS = (0.05, 0.6)  # where a refinement may start
SIGMA_END = 0.4  # noise at timestep LAST, of pixels in [-1, 1]
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": LAST,
    "beta_schedule": "linear",  # sigma / alpha grows linearly to SIGMA_END
    "beta_start": 1e-7,
    "beta_end": 2 * SIGMA_END**2 / LAST,
    "prediction_type": "sample",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}
INDEX = {
    "_class_name": "PocketPipeline",
    "unet": ["upscaler", "PocketUNet"],
    "vae": ["upscaler", "HaarCodec"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}
LATER = 0.375  # part of a batch that is not at its start
EDGES, TEXTURE, GRID = 0.4, 1.0, 2.0  # weights of the losses; that of texture is times the square of the strength


def begun(base: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """The noised base, where a refinement that starts at that timestep begins."""
    sigma = sigma_at(timestep)
    return (base + sigma * noise) / (1 + sigma**2).sqrt()


def sigma_at(timestep: torch.Tensor) -> torch.Tensor:
    """Noise in units of the latents, sigma / alpha, (B, 1, 1, 1)."""
    return (SIGMA_END * (timestep + 1) / LAST).view(-1, 1, 1, 1)


@torch.no_grad()
def continued(
    network: PocketUNet, base: torch.Tensor, noise: torch.Tensor, start: torch.Tensor, timestep: torch.Tensor
) -> torch.Tensor:
    """Where a deterministic sampler that began at `start` stands at a later timestep, after one evaluation.

    Of what it began with, base and noise alike, it has kept the part s(t) / s(start), s = sigma / alpha; the rest has
    become the network's guess.
    """
    guess = network(begun(base, noise, start), start, base)
    sigma, first = sigma_at(timestep), sigma_at(start)
    mixed = guess + sigma / first * (base + first * noise - guess)
    return mixed / (1 + sigma**2).sqrt()


@torch.no_grad()
def measure_scales(network: PocketUNet, codec: HaarCodec, pairs: Pairs, device: torch.device) -> None:
    """Set the sizes that latents and corrections usually have."""
    photo, base = (codec.encode(part.to(device)) for part in pairs.batch(256, 128)[:2])
    network.base_scale.copy_(base.square().mean(dim=(0, 2, 3), keepdim=True).sqrt().clamp(min=0.01))
    network.correction_scale.copy_((photo - base).square().mean(dim=(0, 2, 3), keepdim=True).sqrt().clamp(min=0.003))


def learning_rate(step: int, progress: float) -> float:
    """Rises over 100 steps, stays, falls linearly to zero over the last 60 percent."""
    return min(1.0, (step + 1) / 100) * min(1.0, (1 - progress) / 0.6)


def save(folder: Path, config: dict[str, object], weights: dict[str, torch.Tensor], codec: HaarCodec) -> None:
    """Write a model folder as the upscaler loads it."""
    network = PocketUNet(**config)
    network.load_state_dict(weights)
    network.half().save_pretrained(folder / "unet")
    codec.save_pretrained(folder / "vae")
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2) + "\n")
    (folder / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="folder of make_pairs")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run")
    parser.add_argument("--minutes", type=float, default=85, help="of the whole run, resumed parts included")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/state.pt")
    parser.add_argument("--init", type=Path, help="begin with the weights of this model folder")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="of a detail, pixels")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--lr", type=float, default=0.02, help="of Muon; AdamW has a twentieth")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    device = torch.device(options.device)
    options.run.mkdir(parents=True, exist_ok=True)
    codec = HaarCodec().to(device)
    config = {
        "block_out_channels": [options.width] * options.blocks,
        "sigma_end": SIGMA_END,
        "num_train_timesteps": LAST,
    }
    state = torch.load(options.run / "state.pt", map_location=device) if options.resume else None
    if state:
        config = state["config"]
    if options.init:
        network = PocketUNet.from_pretrained(options.init / "unet")
        config = {name: network.config[name] for name in config}
    else:
        network = PocketUNet(**config)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    step, elapsed = (state["step"], state["elapsed"]) if state else (0, 0.0)
    pairs = Pairs(options.pairs, seed=step)
    generator = torch.Generator().manual_seed(step)
    if state:
        network.load_state_dict(state["network"])
    elif not options.init:
        measure_scales(network, codec, pairs, device)

    kernels = [value for value in network.parameters() if value.ndim == 4]
    others = [value for value in network.parameters() if value.ndim != 4]
    optimisers: list[torch.optim.Optimizer] = [
        Muon(kernels, lr=options.lr),
        torch.optim.AdamW(others, lr=options.lr / 20, betas=(0.9, 0.99), weight_decay=0, fused=True),
    ]
    average = Average(network)
    if state:
        average.weights = state["average"]
        for optimiser, saved in zip(optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)
    else:
        (options.run / "log.csv").write_text("step,minutes,pairs,learning_rate,error,edges,texture,grid\n")

    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))

    def checkpoint() -> None:
        content = {
            "config": config,
            "step": step,
            "elapsed": elapsed,
            "network": network.state_dict(),
            "average": average.weights,
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        }
        torch.save(content, options.run / "state.part")
        os.replace(options.run / "state.part", options.run / "state.pt")
        save(options.run / "pocket", config, average.weights, codec)
        pairs.refresh()

    started, saved_at, sums, summed = time.monotonic() - elapsed, elapsed, np.zeros(4), 0
    while elapsed < options.minutes * 60 and not stopping:
        for optimiser, share in zip(optimisers, (1, 0.05)):
            for group in optimiser.param_groups:
                group["lr"] = options.lr * share * learning_rate(step, elapsed / options.minutes / 60)
        photo, base = (part.to(device) for part in pairs.batch(options.batch, options.side)[:2])
        given = codec.encode(base)
        start = torch.empty(options.batch).uniform_(*STRENGTHS, generator=generator)
        later = torch.rand(options.batch, generator=generator)
        later[round(options.batch * LATER) :] = 1
        start, timestep = (((part * LAST).round().clamp(min=1) - 1).to(device) for part in (start, start * later))
        noise = torch.randn(given.shape, generator=generator).to(device)
        on = slice(round(options.batch * LATER))
        with torch.autocast(device.type, torch.bfloat16):
            sample = begun(given, noise, start)
            sample[on] = continued(network, given[on], noise[on], start[on], timestep[on])
            result = network(sample, timestep, given)
        parts = losses(codec.decode(result), photo)
        strength = (start + 1) / LAST
        (
            parts.error + EDGES * parts.edges + TEXTURE * strength**2 * parts.texture + GRID * parts.grid
        ).mean().backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        step += 1
        elapsed = time.monotonic() - started
        average.update(network, step)
        sums += [part.detach().mean().item() for part in (parts.error, parts.edges, parts.texture, parts.grid)]
        summed += 1
        if step % 20 == 0:
            rate = optimisers[0].param_groups[0]["lr"]
            row = [
                step,
                f"{elapsed / 60:.2f}",
                len(pairs),
                f"{rate:.5f}",
                *(f"{value / summed:.3f}" for value in sums),
            ]
            with (options.run / "log.csv").open("a") as stream:
                csv.writer(stream, lineterminator="\n").writerow(row)
            print(*row, flush=True)
            sums[:], summed = 0, 0
        if elapsed - saved_at > 300:
            checkpoint()
            saved_at = elapsed
    checkpoint()


if __name__ == "__main__":
    main()
