"""Train the detail of "pocket", its second stack, on the features that make_features wrote.

    python -m training.detail --features FEATURES --run RUN --minutes 60 [--model weights/pocket] [--resume]

The first stack stays as it is. RUN gets state.pt (to resume from), detail.csv and pocket/, the model as it is shipped, every
three minutes and at the end. Calm detail is trained for likeness, and for no less energy than the enlarged picture has; rich
detail for the photograph's energy, for the features of a classifier, and, after `--warm` of the run, against a critic.
"""

from __future__ import annotations

import argparse
import copy
import csv
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import piq
import torch

from training.critic import Critic, Features, difference
from training.losses import local_strengths, losses
from training.make_features import FULL, WEIGHTS
from training.optimiser import Average
from training.pairs import consistent
from upscaler.models.diffusion.haar import HaarCodec
from upscaler.models.diffusion.pocket import PocketUNet

LIKENESS = {
    "error": 1.0,
    "square": 1.0,
    "edges": 0.4,
    "haarpsi": 30.0,
    "grid": 1.0,
    "missing": 4.0,
    "thin": 0.05,
}  # of calm detail
LOOKS = {
    "error": 0.5,
    "texture": 1.0,
    "features": 1.0,
    "grid": 0.3,
    "critic": 1.0,
}  # of rich detail, as shares of a gradient
LEAST = 0.32  # energy of calm detail, of the photograph's
SPARE = 1.05  # energy of calm detail over that of the enlarged picture: a part is filtered out afterwards
COLUMNS = ("error", "edges", "haarpsi", "missing", "energy", "rich_error", "rich_energy", "texture", "features", "grid")


class Crops:
    """Random details of the features in a folder, those of the costly first stage mostly."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.refresh()

    def refresh(self) -> None:
        """Look for new ones."""
        self.files = [path for path in sorted(self.folder.glob("*.hidden.npy")) if ".part." not in path.name]
        kinds = np.array([int(path.name.rsplit("-", 3)[1]) for path in self.files])
        self.factors = np.array([int(path.name.rsplit("-x", 1)[1].split(".")[0]) for path in self.files])
        shares = np.zeros(len(kinds))
        for kind, share in ((1, 0.72), (2, 0.2), (3, 0.08)):
            found = (kinds == kind) & (self.factors == 4)
            shares[found] = share / max(found.sum(), 1)
        other = self.factors == 2
        shares[other] = 0.1 / max(other.sum(), 1)
        self.shares = shares / shares.sum()

    def batch(self, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Features (count, width, side / 8, side / 8) and planes (count, 4, side, side), float32; and the factor."""
        factor = int(self.rng.choice(self.factors, p=self.shares))
        shares = np.where(self.factors == factor, self.shares, 0)
        hidden, planes = [], []
        for index in self.rng.choice(len(self.files), size=count, p=shares / shares.sum()).tolist():
            path = self.files[index]
            maps = np.load(path, mmap_mode="r")
            top, left = (int(self.rng.integers(length - side // 8 + 1)) for length in maps.shape[1:])
            cells = np.s_[:, top : top + side // 8, left : left + side // 8]
            pixels = np.s_[:, top * 8 : top * 8 + side, left * 8 : left * 8 + side]
            hidden.append(np.array(maps[cells], np.float32))
            planes.append(
                np.array(np.load(path.with_name(path.name.replace("hidden", "planes")), mmap_mode="r")[pixels])
            )
        return torch.from_numpy(np.stack(hidden)), torch.from_numpy(np.stack(planes)).float(), factor


def energy(plane: torch.Tensor) -> torch.Tensor:
    """Root mean square (B,) of the detail of each plane, in 1/255; training.evaluate has the same detail."""
    from training.losses import blur

    return ((plane - blur(plane, 1.5)) * (127.5 / 3**0.5)).square().mean(dim=(1, 2, 3)).add(1e-4).sqrt()


def grey(plane: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1]."""
    return (plane / 3**0.5).expand(-1, 3, -1, -1)


def likeness(calm: torch.Tensor, photo: torch.Tensor, base: torch.Tensor) -> dict[str, torch.Tensor]:
    """The losses of calm detail, each a number."""
    parts = losses(grey(calm), grey(photo))
    true = energy(photo)
    least = torch.maximum(LEAST**0.5 * true, torch.minimum(SPARE**0.5 * energy(base), true))
    unit = [((plane / 3**0.5 + 1) / 2).clamp(0, 1) for plane in (calm, photo)]
    thin = [
        (0.6 * b - a).clamp(min=0).mean() for a, b in zip(local_strengths(grey(calm)), local_strengths(grey(photo)))
    ]
    return {
        "error": parts.error.mean(),
        "square": ((calm - photo) * (127.5 / 3**0.5)).square().mean(dim=(1, 2, 3)).sqrt().mean(),
        "edges": parts.edges.mean(),
        "haarpsi": 1 - piq.haarpsi(*unit, data_range=1.0),
        "grid": parts.grid.mean(),
        "missing": (least - energy(calm)).clamp(min=0).mean(),
        "thin": torch.stack(thin).sum(),
    }


class Balance:
    """Gradients of several losses as shares of one: each is divided by the running mean of its own norm."""

    def __init__(self) -> None:
        self.norms: dict[str, float] = {}

    def __call__(self, parts: dict[str, torch.Tensor], shares: dict[str, float], at: torch.Tensor) -> torch.Tensor:
        """The gradient at `at`, scaled as that of the error is."""
        total = torch.zeros_like(at)
        for name, loss in parts.items():
            (gradient,) = torch.autograd.grad(loss, at, retain_graph=True)
            norm = float(gradient.norm()) + 1e-12
            self.norms[name] = 0.95 * self.norms.get(name, norm) + 0.05 * norm
            total += gradient * (shares[name] / max(self.norms[name], 0.3 * norm))
        return total * self.norms["error"]


class Training:
    """The networks, their optimisers, and one step of all."""

    def __init__(self, network: PocketUNet, lr: float) -> None:
        assert network.detail is not None
        self.network, self.detail = network, network.detail
        self.critic, self.features, self.balance = Critic(), Features(), Balance()
        self.critic.to(memory_format=torch.channels_last)
        self.average = Average(self.detail)
        self.lr = lr
        self.drawer = torch.optim.Adam(self.detail.parameters(), lr=lr, betas=(0.8, 0.99))
        self.judge = torch.optim.Adam(self.critic.parameters(), lr=lr, betas=(0.3, 0.99))

    def step(
        self, crops: tuple[torch.Tensor, torch.Tensor, int], number: int, judged: bool, drawn: bool
    ) -> list[float]:
        """One step; `judged`: with the critic; `drawn`: not the critic alone."""
        hidden, planes, factor = crops
        photo, base, mean, noise = planes.split(1, dim=1)
        photo = consistent(photo, base, factor)  # what the pipeline could make of the best of results
        with torch.autocast("cpu", torch.bfloat16):
            calm, rich = self.detail.draw(mean, base, noise, hidden)
        quiet = consistent(mean + calm, base, factor)
        loud = consistent(mean + calm.detach() + rich, base, factor)
        if judged:
            with torch.autocast("cpu", torch.bfloat16):
                margin = self.critic(photo, mean, base) - self.critic(loud.detach(), mean, base)
            worth = torch.nn.functional.softplus(-margin).mean()
            self.judge.zero_grad()
            worth.backward()
            self.judge.step()
            if not drawn:
                return []
        parts = likeness(quiet, photo, base)
        total = sum((LIKENESS[name] * loss for name, loss in parts.items()), torch.zeros(()))
        at = loud.detach().requires_grad_()
        looks = losses(grey(at), grey(photo))
        with torch.no_grad():
            wanted = self.features(photo)
        local = zip(local_strengths(grey(at)), local_strengths(grey(photo)))
        texture = torch.stack([(a - b).abs().mean() for a, b in local]).sum()
        texture = texture + (energy(at) - energy(photo)).abs().mean()
        seen = {"error": looks.error.mean(), "texture": texture, "grid": looks.grid.mean()}
        seen["features"] = difference(self.features(at), wanted)
        if judged:
            self.critic.requires_grad_(False)
            with torch.autocast("cpu", torch.bfloat16):
                margin = self.critic(photo, mean, base) - self.critic(at, mean, base)
            seen["critic"] = torch.nn.functional.softplus(margin).mean()
            self.critic.requires_grad_(True)
        gradient = self.balance(seen, LOOKS, at)
        self.drawer.zero_grad()
        total.backward(retain_graph=True)
        loud.backward(gradient)
        torch.nn.utils.clip_grad_norm_(self.detail.parameters(), 20.0)
        self.drawer.step()
        self.average.update(self.detail, number)
        true = energy(photo).square().mean()
        shown = [float(parts[name].detach()) for name in ("error", "edges", "haarpsi", "missing")]
        shown += [float(energy(quiet).square().mean() / true), float(seen["error"].detach())]
        shown += [float(energy(at).square().mean() / true)]
        return (
            shown
            + [float(seen[name].detach()) for name in ("texture", "features", "grid")]
            + ([float(worth.detach()), float(seen["critic"].detach())] if judged else [0.0, 0.0])
        )

    def save(self, folder: Path, source: Path) -> None:
        """A model folder with the running mean of the detail."""
        shutil.copytree(source, folder, dirs_exist_ok=True)
        network = copy.deepcopy(self.network)
        assert network.detail is not None
        network.detail.load_state_dict(self.average.weights, strict=False)
        network.half().save_pretrained(folder / "unet")
        HaarCodec().save_pretrained(folder / "vae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True, help="folder of make_features")
    parser.add_argument("--run", type=Path, required=True, help="folder of this run")
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="model folder of the first stack")
    parser.add_argument("--minutes", type=float, default=60, help="of the whole run, resumed parts included")
    parser.add_argument("--warm", type=float, default=0.12, help="part of the run before the critic")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/state.pt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128, help="of a detail, pixels")
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    options = parser.parse_args()

    torch.manual_seed(0)
    options.run.mkdir(parents=True, exist_ok=True)
    first = PocketUNet.from_pretrained(options.model / "unet")
    config = {name: first.config[name] for name in ("block_out_channels", "sigma_end", "num_train_timesteps")}
    network = PocketUNet(**config, full_strength=FULL, detail_width=options.width, detail_layers=options.layers).to(
        memory_format=torch.channels_last
    )
    network.load_state_dict(first.state_dict(), strict=False)
    training = Training(network, options.lr)
    step, elapsed = 0, 0.0
    if options.resume:
        state = torch.load(options.run / "state.pt", map_location="cpu")
        step, elapsed = state["step"], state["elapsed"]
        training.detail.load_state_dict(state["detail"])
        training.critic.load_state_dict(state["critic"])
        training.average.weights = state["average"]
        training.drawer.load_state_dict(state["drawer"])
        training.judge.load_state_dict(state["judge"])
    else:
        (options.run / "detail.csv").write_text(",".join(("step", "minutes", *COLUMNS, "judge", "critic")) + "\n")
    crops = Crops(options.features, seed=step)
    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))

    def checkpoint() -> None:
        state = {"step": step, "elapsed": elapsed, "average": training.average.weights}
        for name in ("detail", "critic", "drawer", "judge"):
            state[name] = getattr(training, name).state_dict()
        torch.save(state, options.run / "state.part")
        os.replace(options.run / "state.part", options.run / "state.pt")
        training.save(options.run / "pocket", options.model)
        crops.refresh()

    started, saved_at, rows, alone = time.monotonic() - elapsed, elapsed, [], 60
    while elapsed < options.minutes * 60 and not stopping:
        progress = elapsed / options.minutes / 60
        judged = progress > options.warm
        rate = min(1.0, (step + 1) / 50) * min(1.0, (1 - progress) / 0.4 + 0.02)
        for optimiser in (training.drawer, training.judge):
            optimiser.param_groups[0]["lr"] = options.lr * rate * (0.4 if judged else 1.0)
        drawn = not judged or alone <= 0 or options.resume
        alone -= judged
        row = training.step(crops.batch(options.batch, options.side), step, judged, drawn)
        step += 1
        elapsed = time.monotonic() - started
        if row:
            rows.append(row)
        if len(rows) == 25:
            shown = [step, f"{elapsed / 60:.2f}", *(f"{value:.4g}" for value in np.mean(rows, axis=0))]
            with (options.run / "detail.csv").open("a") as stream:
                csv.writer(stream, lineterminator="\n").writerow(shown)
            print(*shown, flush=True)
            rows = []
        if elapsed - saved_at > 180:
            checkpoint()
            saved_at = elapsed
    checkpoint()


if __name__ == "__main__":
    main()
