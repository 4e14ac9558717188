"""What a plan says of memory is kept to: settings are changed until a run fits, and a fake allocator counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.headers import CONV_IN, KEYS, TEXT, header
from upscaler import pipeline
from upscaler.arrays.types import Image
from upscaler.errors import OutOfMemory, SettingsError
from upscaler.fitting import cards, changes, fit, spare
from upscaler.geometry import Box, Size
from upscaler.memory import Memory
from upscaler.models.base import OnStep, Redrawer
from upscaler.options.settings import Sampling, Settings
from upscaler.pictures.picture import Picture
from upscaler.plan import plan_run
from upscaler.planning import on_cards
from upscaler.run_plan import RunPlan
from upscaler.testing import IdentityRefiner

MIB, GIB = 2**20, 2**30
SIZE = Size(1024, 768)


def memory(settings: Settings) -> Memory:
    """A model of a network of 2 GiB and two other parts of half of one each; 1 KiB for a pixel of each tile."""
    network = 2 * GIB // (2 if settings.hardware.storage == "float8" else 1)
    return Memory(loaded=network + GIB, at_work=1024, coding=1536, largest=network)


def planned(settings: Settings, size: Size = SIZE) -> RunPlan:
    return plan_run(size, settings, upscaler=None, refiner=Redrawer(memory=memory(settings)))


@dataclass
class Allocator:
    """Memory of a device: raises where more than its size would be taken."""

    size: int
    taken: int = 0
    peak: int = 0

    @contextmanager
    def holding(self, number: int) -> Iterator[None]:
        if self.taken + number > self.size:
            raise OutOfMemory(f"{number} bytes do not fit")
        self.taken += number
        self.peak = max(self.peak, self.taken)
        yield
        self.taken -= number


@dataclass
class Model(IdentityRefiner):
    """Takes from an allocator what `memory` says."""

    allocator: Allocator = field(default_factory=lambda: Allocator(0))
    settings: Settings = field(default_factory=Settings)

    def batch_size(self, tile: Size) -> int:
        kept = memory(self.settings).bytes(0, low_vram=self.settings.hardware.low_vram)
        return min((self.allocator.size - kept) // (tile.width * tile.height * 1024), 16)

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        height, width = tiles[0].shape[:2]
        needed = memory(self.settings).bytes(width * height, batch=len(tiles), low_vram=self.settings.hardware.low_vram)
        with self.allocator.holding(needed):
            return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)


@pytest.mark.parametrize("limit", ["4GB", "3.2 GB", "3000MB", "2.3GB", "2200MiB", "1.3G", "1180MB"])
@pytest.mark.parametrize("batch", [0, 8])
def test_a_run_stays_within_its_memory(limit: str, batch: int) -> None:
    asked = Settings.of(
        model="sd", gan="none", scale=1, memory=limit, device="cuda", batch=batch, guidance=1, seams="none"
    )
    settings = fit(spare(asked, planned, kind="cuda"), planned, kind="cuda")
    size = settings.hardware.memory_bytes
    assert size is not None
    allocator = Allocator(size)
    model = Model(allocator=allocator, settings=settings)
    image = np.random.default_rng(0).random((SIZE.height, SIZE.width, 3), np.float32)
    events = list(pipeline.run(Picture(image), settings, upscaler=None, refiner=model))
    assert not [event for event in events if "did not fit" in getattr(event, "message", "")]
    assert 0 < allocator.peak <= size


def test_as_little_as_possible_is_changed() -> None:
    def changed(limit: str, kind: str = "cuda", **options: object) -> str:
        asked = Settings.of(model="sd", gan="none", scale=1, memory=limit, device=kind, **options)
        return changes(asked, fit(spare(asked, planned, kind=kind), planned, kind=kind))

    assert changed("16GB") == ""
    assert changed("4GB", batch=16) == "--batch 1"
    assert changed("3GB") == "--low-vram"
    assert changed("2GB") == "--low-vram --storage float8"
    assert changed("1.3GB") == "--tile 512 --low-vram --storage float8"
    assert changed("3.6GB", "cpu") == "--storage float8"


def test_what_cannot_fit_is_told_in_one_line() -> None:
    asked = Settings.of(model="sd", gan="none", scale=1, memory="500MB", device="cuda")
    with pytest.raises(OutOfMemory, match=r"hardware\.memory: 500MB is not enough for sd .* at least; raise it"):
        fit(spare(asked, planned, kind="cuda"), planned, kind="cuda")


def test_a_model_that_says_nothing_is_not_guessed_at() -> None:
    asked = Settings.of(model="sd", gan="none", scale=1, memory="8GB")
    plan = partial(plan_run, SIZE, upscaler=None, refiner=Redrawer())
    with pytest.raises(SettingsError, match="not known"):
        fit(spare(asked, plan, kind="cuda"), plan, kind="cuda")
    assert fit(asked.but(memory="auto"), plan, kind="cuda") == asked.but(memory="auto")
    assert cards(asked, plan) == ""


def test_a_plan_says_what_a_model_of_true_size_needs_on_small_cards(tmp_path: Path) -> None:
    parts = {CONV_IN: (320, 4, 3, 3), KEYS: (320, 768)}  # Stable Diffusion 1.5, and the rest of its weights
    parts |= {"model.diffusion_model.rest": (859_000_000,), "first_stage_model.rest": (84_000_000,)}
    file = header(tmp_path / "photo.safetensors", parts | {TEXT: (768,), "cond_stage_model.rest": (123_000_000,)})
    line = on_cards(Settings.of(model=str(file), scale=4, tile="1536"), Size(1024, 768))
    assert line.startswith("4 GB: ")
    assert "--low-vram" in line.partition(";")[0]
    assert line.endswith("or more: no changes needed")


def test_cards() -> None:
    assert cards(Settings.of(model="sd", gan="none", scale=1), planned) == "4 GB or more: no changes needed"
    large = Settings.of(model="sd", gan="none", scale=1, tile="2048", overlap=64)
    assert cards(large, planned) == "4 GB: --low-vram; 6 GB or more: no changes needed"


@pytest.mark.parametrize(
    ("text", "size"), [("6GB", 6 * GIB), ("6 GB", 6 * GIB), ("0.5G", GIB // 2), ("700MiB", 700 * MIB)]
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert Settings.of(memory=text).hardware.memory_bytes == size


@pytest.mark.parametrize("text", ["6", "6TB", "GB", "-1GB", "six"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"hardware\.memory"):
        Settings.of(memory=text)
