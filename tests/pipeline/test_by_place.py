"""What differs from tile to tile, prompts and strengths: by any order and batch the same picture, and no seam."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

import upscaler
from upscaler.arrays.types import Image
from upscaler.cli.parser import make_parser
from upscaler.cli.run import settings_from
from upscaler.errors import ProgressError, SettingsError
from upscaler.events import Finished, Notice
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.options.settings import MixedSampling, Sampling
from upscaler.pictures.files import load
from upscaler.testing import IdentityRefiner, NoiseRefiner

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd

PHOTO = Path(upscaler.__file__).parents[1] / "examples" / "photo.png"
OPTIONS: dict[str, Any] = {
    "gan": "none", "scale": 2, "tile": 128, "overlap": 32, "feather": 16, "seams": "none",
    "wavelet_color": 0.0, "wavelet_denoise": 0.0, "consistency": 0.0, "strength": 0.5,
}  # fmt: skip


@dataclass
class Painter(IdentityRefiner):
    """Paints each tile in a grey that its prompt and strength say; takes several prompts in a batch."""

    mixes_prompts: bool = True
    calls: list[tuple[tuple[str, ...], float, int]] = field(default_factory=list)

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: Any
    ) -> list[Image]:
        each = isinstance(sampling, MixedSampling)
        prompts = sampling.prompts if isinstance(sampling, MixedSampling) else (sampling.prompt,) * len(tiles)
        assert self.mixes_prompts or not each
        self.calls.append((prompts, sampling.strength, sampling.steps))
        on_step(1, 1)
        return [np.full_like(t, crc32(f"{p} {sampling.strength}".encode()) / 2**32) for t, p in zip(tiles, prompts)]

    @property
    def prompts(self) -> set[str]:
        return {prompt for prompts, _, _ in self.calls for prompt in prompts}


@pytest.fixture(scope="module")
def photo() -> Image:
    return load(PHOTO).pixels[60:252, 60:316].copy()


@pytest.fixture
def half(rng: np.random.Generator) -> Image:
    """Flat on the left, faint texture in the middle, a strong one on the right."""
    image = np.full((192, 256, 3), 0.5, np.float32)
    image[:, 64:] += rng.uniform(-0.02, 0.02, (192, 192, 1)).astype(np.float32)
    image[:, 128:] += rng.uniform(-0.4, 0.4, (192, 128, 3)).astype(np.float32)
    return image


def drawn(image: Image, refiner: IdentityRefiner, **options: Any) -> Image:
    return upscaler.upscale(image, refiner=refiner, **{**OPTIONS, **options}).pixels


REGIONS = "prefix: photo of\n0,0,50,100: a barn\n2,1 of 2x2: a lake\n50,50,100,100 x1.2: a hill"


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
def test_prompts_by_place_do_not_depend_on_batch_or_order(photo: Image, order: str) -> None:
    expected, refiner = drawn(photo, Painter(), tile_prompt=REGIONS, batch=1, order=order), Painter()
    assert drawn(photo, refiner, tile_prompt=REGIONS, batch=7, order=order).tobytes() == expected.tobytes()
    assert max(len(set(prompts)) for prompts, _, _ in refiner.calls) > 1 or order == "linear", "batches mix prompts"
    alone = drawn(photo, Painter(mixes_prompts=False), tile_prompt=REGIONS, batch=7, order=order)
    assert alone.tobytes() == expected.tobytes()
    whole = {"photo of a barn", "photo of a lake", "photo of (a hill:1.2)"}
    assert whole <= refiner.prompts
    assert all(prompt.startswith("photo of ") for prompt in refiner.prompts)


def test_tiles_outside_of_all_regions_have_the_general_prompt(photo: Image) -> None:
    refiner = Painter()
    drawn(photo, refiner, tile_prompt="0,0,30,100: a barn", prompt="a view, photo", prompt_everywhere=True)
    assert refiner.prompts == {"a barn", "a view, photo"}


def test_a_small_region_counts_where_it_lies(photo: Image) -> None:
    refiner = Painter()
    drawn(photo, refiner, tile_prompt="70,70,74,74: a bird", prompt="a view", prompt_everywhere=True)
    named = sum(prompt == "a bird" for prompts, _, _ in refiner.calls for prompt in prompts)
    assert 1 <= named <= 4


def test_plain_tiles_are_not_told_of_the_subject(half: Image) -> None:
    refiner = Painter()
    drawn(half, refiner, prompt="a lighthouse, photo", wavelet_denoise=0.1)
    assert refiner.prompts == {"a lighthouse, photo", "photo"}
    assert refiner.calls[0][0][0] == "photo", "the flat side comes first"
    everywhere = Painter()
    drawn(half, everywhere, prompt="a lighthouse, photo", prompt_everywhere=True)
    assert everywhere.prompts == {"a lighthouse, photo"}


def test_a_function_says_what_tiles_show(photo: Image) -> None:
    def caption(tile: Image) -> str:
        assert tile.ndim == 3
        return f"brightness {tile.mean():.2f}"

    refiner = Painter()
    first = drawn(photo, refiner, caption=caption, tile_prompt="0,0,20,100: a barn", batch=5)
    assert len(refiner.prompts) > 3
    assert "a barn" in refiner.prompts
    again = drawn(photo, Painter(), caption=caption, tile_prompt="0,0,20,100: a barn", batch=1)
    assert first.tobytes() == again.tobytes()


def test_models_that_read_no_prompt_are_told_so_and_get_none(photo: Image) -> None:
    refiner = Painter(mixes_prompts=False)
    refiner.takes_prompt = False  # type: ignore[attr-defined]
    events = list(upscaler.run(photo, refiner=refiner, **OPTIONS, tile_prompt="0,0,50,100: a barn"))
    assert any("takes no prompt" in event.message for event in events if isinstance(event, Notice))
    assert refiner.prompts == {""}


def test_prompts_belong_to_what_a_run_goes_on_from(photo: Image, tmp_path: Path) -> None:
    def begun(**options: Any) -> Any:
        return upscaler.run(photo, refiner=Painter(), progress=tmp_path / "p", **{**OPTIONS, "batch": 1}, **options)

    events = begun(tile_prompt=REGIONS)
    for _ in range(12):
        next(events)
    events.close()
    for changed in (
        {"tile_prompt": "0,0,50,100: a cat"},
        {"tile_prompt": REGIONS, "caption": repr},
        {"adaptive": True},
    ):
        with pytest.raises(ProgressError, match="holds the progress of another run"):
            list(begun(**changed))
    refiner = Painter()
    got = drawn(photo, refiner, tile_prompt=REGIONS, progress=tmp_path / "p", batch=3)
    assert got.tobytes() == drawn(photo, Painter(), tile_prompt=REGIONS).tobytes()


def test_the_command_line_reads_a_file_or_the_lines_themselves(tmp_path: Path) -> None:
    (tmp_path / "regions.txt").write_text(REGIONS)
    read = [
        settings_from(make_parser().parse_args(["run", "x.png", *given])).diffusion.tile_prompt
        for given in (
            ["--tile-prompt", str(tmp_path / "regions.txt")],
            ["--tile-prompt", "0,0,50,100: a barn", "--tile-prompt", "2,1 of 2x2: a lake"],
        )
    ]
    assert read == [REGIONS, "0,0,50,100: a barn;2,1 of 2x2: a lake"]


# adaptive strength


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
def test_strength_follows_the_picture_whatever_batch_and_order(half: Image, order: str) -> None:
    refiner = Painter()
    expected = drawn(half, refiner, adaptive=True, order=order, batch=1)
    assert {strength for _, strength, _ in refiner.calls} <= {0.125, 0.25, 0.375, 0.5}
    assert len({strength for _, strength, _ in refiner.calls}) > 1
    assert drawn(half, Painter(), adaptive=True, order=order, batch=6).tobytes() == expected.tobytes()
    region = Box(250, 100, 400, 300)
    part = drawn(half, Painter(), adaptive=True, order=order, region=region)
    assert part.tobytes() == expected[region.slices].copy().tobytes()


def test_clean_lines_are_redrawn_more_gently_than_texture(rng: np.random.Generator) -> None:
    strengths = []
    for image in (rng.random((96, 128, 3), np.float32), np.zeros((96, 128, 3), np.float32)):
        if not image.any():
            image[:, ::16] = image[:, 1::16] = image[:, 2::16] = 1
        refiner = Painter()
        drawn(image, refiner, adaptive=True)
        strengths.append({strength for _, strength, _ in refiner.calls})
    texture, lines = strengths
    assert max(lines) < min(texture) == 0.5


def test_flat_tiles_are_left_out_and_told(half: Image) -> None:
    refiner = Painter()
    events = list(upscaler.run(half, refiner=refiner, adaptive=True, **OPTIONS))
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any(message.startswith("adaptive strength: ") and "left out as flat" in message for message in told)
    flat = next(event for event in events if isinstance(event, Finished)).picture.pixels[:, :100]
    assert (flat == 0.5).all()


def test_the_change_of_strength_leaves_no_seam(half: Image, photo: Image) -> None:
    """Judged by the score that finds the joints of other tilings."""
    for image in (half, photo):
        options = {**OPTIONS, "wavelet_color": 1.0, "wavelet_denoise": 0.5, "consistency": 1.0, "seams": "auto"}
        scores = []
        for adaptive in (False, True):
            refiner = NoiseRefiner()
            events = list(upscaler.run(image, refiner=refiner, adaptive=adaptive, **{**options, "strength": 1.0}))
            report = next(event for event in events if isinstance(event, Finished)).seams
            assert report is not None
            scores.append(report)
        before, after = (score.after for score in scores)
        assert not after.visible
        assert after.mean <= before.mean + 0.02


def test_in_joint_mode_each_tile_keeps_its_prompt(photo: Image, tmp_path: Path) -> None:
    refiner = load_refiner(str(make_sd(tmp_path / "sd")), device="cpu", precision="float32")
    options = {"mode": "joint", "tile": 128, "steps": 2, "tile_prompt": "0,0,50,100: a barn\n50,0,100,100: a lake"}
    pixels = photo[:96, :128]
    expected = drawn(pixels, refiner, **options, batch=1)  # type: ignore[arg-type]
    np.testing.assert_allclose(drawn(pixels, refiner, **options, batch=4), expected, atol=1e-4)  # type: ignore[arg-type]
    options["tile_prompt"] = "0,0,50,100: a barn\n50,0,100,100: a red house"
    other = drawn(pixels, refiner, **options)  # type: ignore[arg-type]
    differ = np.abs(other - expected).max(axis=(0, 2))
    assert differ[200:].max() > 1e-4
    with pytest.raises(SettingsError, match=r"tiles\.adaptive True is not for it"):
        drawn(pixels, refiner, mode="joint", adaptive=True)  # type: ignore[arg-type]
