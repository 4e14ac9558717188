"""What the network is trained on: details of photographs and of their enlargements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

FULL = 0.6  # part of a batch from files with all first stages
COSTLY = 0.8  # how often their first base, that of the costliest first stage, is taken
_ROUNDS = 2


class Pairs:
    """Random details of all pairs in a folder, also of those that arrive during the training."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(seed)
        self.refresh()

    def __len__(self) -> int:
        return len(self.files)

    def refresh(self) -> None:
        """Look for new pairs."""
        self.files = sorted(self.folder.glob("*-x*.npy"))
        if not self.files:
            raise SystemExit(f"{self.folder}: no pairs; run training.make_pairs first")
        rows = np.array([len(np.load(path, mmap_mode="r")) for path in self.files])
        full = rows == rows.max()
        self.full = set(np.flatnonzero(full).tolist())
        self.factors = np.array([int(path.stem.rsplit("x", 1)[1]) for path in self.files])
        self.shares = np.where(full, FULL / full.sum(), (1 - FULL) / max((~full).sum(), 1))
        self.shares /= self.shares.sum()

    def batch(self, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Photographs and bases, (count, 3, side, side) in [-1, 1], on the 8 px grid, flipped and turned; their factor."""
        factor = int(self.rng.choice(self.factors, p=self.shares))
        shares = np.where(self.factors == factor, self.shares, 0)
        details = []
        for index in self.rng.choice(len(self.files), size=count, p=shares / shares.sum()).tolist():
            rows = np.load(self.files[index], mmap_mode="r")
            top, left = (8 * int(self.rng.integers((length - side) // 8 + 1)) for length in rows.shape[1:3])
            costly = index in self.full and self.rng.random() < COSTLY
            base = 1 if costly else int(self.rng.integers(1 + (index in self.full), len(rows)))
            pair = np.stack([rows[row, top : top + side, left : left + side] for row in (0, base)])
            detail = np.rot90(pair, int(self.rng.integers(4)), axes=(1, 2))
            details.append(detail[:, :, ::-1] if self.rng.random() < 0.5 else detail)
        pixels = torch.from_numpy(np.ascontiguousarray(np.stack(details, axis=1))).permute(0, 1, 4, 2, 3)
        photo, base = pixels.float() / 127.5 - 1
        return photo, base, factor


def consistent(picture: torch.Tensor, base: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, 3, H, W), scaled down, equal to the base scaled down: what the pipeline does to every result in the end."""
    for _ in range(_ROUNDS):
        difference = base - picture
        small = [length // factor for length in difference.shape[-2:]]
        difference = functional.interpolate(difference, small, mode="bicubic", antialias=True)
        picture = picture + functional.interpolate(difference, base.shape[-2:], mode="bicubic", antialias=True)
    return picture
