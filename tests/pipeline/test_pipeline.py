"""Whole runs over fakes: what has to hold exactly, whatever the models are."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from upscaler import pipeline, to_pil
from upscaler.arrays.resample import resample
from upscaler.arrays.types import Array, Image
from upscaler.errors import Cancelled, OutOfMemory
from upscaler.events import Event, Finished, Notice, Progress, Stage
from upscaler.geometry import Box, Size
from upscaler.models.base import OnStep, Refiner, Upscaler
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture
from upscaler.plan import plan_run
from upscaler.run_plan import RunPlan
from upscaler.stages.seam_score import seam_score
from upscaler.testing import (
    FailingRefiner,
    IdentityRefiner,
    InvertRefiner,
    NearestUpscaler,
    NoiseRefiner,
    ToneShiftRefiner,
)

SEAMS = ("none", "band", "half-tile", "half-tile+intersections", "auto")
SMALL = {"tile": 128, "overlap": 32, "feather": 16, "gan_tile": 64, "seam_width": 32, "steps": 2, "seam_steps": 1}


def events(
    image: Image | Picture,
    refiner: Refiner | None = None,
    *,
    upscaler: Upscaler | None = None,
    region: Box | None = None,
    mask: Array | None = None,
    inline: bool = False,
    **options: object,
) -> list[Event]:
    picture = image if isinstance(image, Picture) else Picture.from_array(image)
    settings = Settings.of(**{**SMALL, **options})
    return list(
        pipeline.run(
            picture,
            settings,
            upscaler=upscaler or NearestUpscaler(4),
            refiner=refiner,
            region=region,
            mask=mask,
            inline=inline,
        )
    )


def upscaler_plan(image: Image, **options: object) -> RunPlan:
    size = Size(image.shape[1], image.shape[0])
    return plan_run(size, Settings.of(**{**SMALL, **options}), upscaler=NearestUpscaler(4), refiner=IdentityRefiner())


def result(image: Image | Picture, refiner: Refiner | None = None, **options: object) -> Finished:
    (*_, last) = events(image, refiner, **options)  # type: ignore[arg-type]
    assert isinstance(last, Finished)
    return last


@pytest.fixture
def image(rng: np.random.Generator) -> Image:
    coarse = rng.random((12, 15, 3)).astype(np.float32)
    return np.clip(coarse.repeat(5, 0).repeat(5, 1) + rng.normal(0, 0.05, (60, 75, 3)), 0, 1).astype(np.float32)


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
@pytest.mark.parametrize("seams", SEAMS)
def test_the_identity_refiner_gives_the_bytes_of_the_base(image: Image, seams: str, order: str) -> None:
    base = result(image).picture.pixels
    assert result(image, IdentityRefiner(), seams=seams, order=order).picture.pixels.tobytes() == base.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (750, 2), (31, 97), (3, 5)])
def test_thin_tiny_and_prime_pictures(size: tuple[int, int], rng: np.random.Generator) -> None:
    image = rng.random((*size, 3)).astype(np.float32)
    base = result(image).picture.pixels
    assert base.shape == (size[0] * 4, size[1] * 4, 3)
    for refiner in (IdentityRefiner(), IdentityRefiner(multiple=64)):
        refined = result(image, refiner, seams="half-tile+intersections").picture.pixels
        assert refined.tobytes() == base.tobytes()


@pytest.mark.parametrize("tile", ["auto", "3x2", "1x1", "64", "1024"])
def test_every_way_to_say_the_tile(image: Image, tile: str) -> None:
    base = result(image).picture.pixels
    assert result(image, IdentityRefiner(), tile=tile).picture.pixels.tobytes() == base.tobytes()


@pytest.mark.parametrize("scale", [0.5, 0.83, 1, 1.7, 2, 4, 5, 7.3, 16])
@pytest.mark.parametrize("model", [1, 2, 4])
def test_exact_sizes_for_any_factor(scale: float, model: int, rng: np.random.Generator) -> None:
    image = rng.random((23, 31, 3)).astype(np.float32)
    finished = result(image, IdentityRefiner(), scale=scale, upscaler=NearestUpscaler(model))
    assert finished.picture.size == Size(max(round(31 * scale), 1), max(round(23 * scale), 1))


def test_a_smooth_picture_stays_itself_at_any_factor() -> None:
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 64, dtype=np.float32)[None, :, None], (48, 64, 3)).copy()
    for scale in (1.5, 3.3, 5.0):
        large = result(ramp, scale=scale).picture.pixels
        positions = (np.arange(large.shape[1]) + 0.5) / scale - 0.5
        expected = np.interp(positions, np.arange(64), ramp[0, :, 0])
        inner = slice(round(3 * scale), -round(3 * scale))
        assert np.abs(large[..., 0] - expected).max(axis=0)[inner].max() < 1.5 / 255


def test_a_pointwise_refiner_gives_the_untiled_result(image: Image) -> None:
    plain = {"wavelet_color": 0.0, "wavelet_denoise": 0.0, "consistency": 0.0, "seams": "none"}
    base = result(image, **plain).picture.pixels
    np.testing.assert_allclose(result(image, InvertRefiner(), **plain).picture.pixels, 1 - base, atol=1e-6)


@pytest.mark.parametrize("seams", SEAMS)
def test_batch_size_does_not_matter(image: Image, seams: str) -> None:
    pictures = [
        result(image, NoiseRefiner(), seams=seams, strength=0.5, batch=batch).picture.pixels for batch in (1, 3, 8, 0)
    ]
    assert len({picture.tobytes() for picture in pictures}) == 1


def test_same_seed_same_bytes_another_seed_others(image: Image) -> None:
    first, again, other = (
        result(image, NoiseRefiner(), seed=seed, strength=0.5).picture.pixels.tobytes() for seed in (5, 5, 6)
    )
    assert first == again != other


REGIONS = [Box(0, 0, 40, 30), Box(130, 90, 171, 140), Box(250, 200, 300, 240)]


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
@pytest.mark.parametrize("seams", SEAMS)
def test_a_region_is_that_part_of_the_whole(image: Image, seams: str, order: str, filters: bool) -> None:
    options: dict[str, object] = {"seams": seams, "order": order, "strength": 0.5, "seam_strength": 0.5}
    if not filters:
        options |= {"wavelet_color": 0.0, "wavelet_denoise": 0.0, "consistency": 0.0}
    whole = result(image, ToneShiftRefiner(), **options).picture.pixels
    for region in REGIONS:
        part = result(image, ToneShiftRefiner(), region=region, **options).picture
        assert part.size == region.size
        assert part.pixels.tobytes() == np.ascontiguousarray(whole[region.slices]).tobytes()


def test_a_region_runs_only_what_it_needs(rng: np.random.Generator) -> None:
    image = rng.random((300, 300, 3)).astype(np.float32)
    counts = []
    for region in (None, Box(0, 0, 10, 10)):
        done = [
            event
            for event in events(image, IdentityRefiner(), seams="none", region=region)
            if isinstance(event, Progress)
        ]
        counts.append({event.stage: event.total for event in done})
    assert counts[1][Stage.REFINE] < counts[0][Stage.REFINE] / 3
    assert counts[1][Stage.ENLARGE] < counts[0][Stage.ENLARGE]


def test_no_strength_is_no_pass(image: Image) -> None:
    finished = result(image, NoiseRefiner(), strength=0)
    assert finished.picture.pixels.tobytes() == result(image).picture.pixels.tobytes()
    assert Stage.REFINE not in finished.seconds


@pytest.mark.parametrize("option", [{"seam_strength": 0.9}, {"seam_width": 64}, {"seams": "half-tile"}])
def test_seam_settings_change_the_result(image: Image, option: dict[str, object]) -> None:
    usual = {"seams": "band", "seam_strength": 0.4, "strength": 0.3}
    first = result(image, NoiseRefiner(), **usual).picture.pixels
    assert not np.array_equal(first, result(image, NoiseRefiner(), **{**usual, **option}).picture.pixels)


def test_seam_steps_reach_the_refiner(image: Image) -> None:
    seen = {
        event.steps
        for event in events(image, IdentityRefiner(), seams="band", seam_steps=5)
        if isinstance(event, Progress) and event.stage == Stage.SEAMS
    }
    assert 5 in seen


def test_the_seam_pass_leaves_the_rest_bit_for_bit(image: Image) -> None:
    options = {"strength": 0.5, "consistency": 0.0}
    plain = result(image, NoiseRefiner(), seams="none", **options).picture.pixels
    mended = result(image, NoiseRefiner(), seams="band", seam_strength=0.9, **options).picture.pixels
    changed = (plain != mended).any(axis=2)
    assert 0.1 < changed.mean() < 0.6


@pytest.mark.parametrize("kind", ["grey", "gradient"])
def test_tone_shifts_of_tiles_leave_no_seam(kind: str) -> None:
    image = np.full((150, 200, 3), 0.5, np.float32)
    if kind == "gradient":
        image *= np.linspace(0.5, 1.5, 200, dtype=np.float32)[None, :, None]
    finished = result(image, ToneShiftRefiner(), seams="none")
    assert finished.seams is not None
    assert finished.seams.after.worst <= max(finished.seams.after.inside, 0.05)
    unlocked = result(image, ToneShiftRefiner(), seams="none", wavelet_color=0.0, consistency=0.0)
    assert unlocked.seams is not None
    assert unlocked.seams.after.worst > 3  # the test can fail


def test_auto_mends_the_seams_that_it_sees() -> None:
    class Offset(ToneShiftRefiner):
        def redraw(self, tile, box, sampling, seed):  # type: ignore[no-untyped-def]
            return super().redraw(tile, box, sampling, seed) if seed < 2**63 else tile.repeat(1, axis=0)

    image = np.full((150, 200, 3), 0.5, np.float32)
    finished = result(image, Offset(), seams="auto", wavelet_color=0.0, consistency=0.0)
    report = finished.seams
    assert report is not None
    assert report.redrawn > 0
    assert report.before.visible


def test_progress_is_monotone_and_complete(image: Image) -> None:
    fractions: dict[Stage, list[float]] = {}
    for event in events(image, IdentityRefiner(), seams="band", batch=3):
        if isinstance(event, Progress):
            fractions.setdefault(event.stage, []).append(event.fraction)
    assert list(fractions) == [Stage.ENLARGE, Stage.REFINE, Stage.SEAMS, Stage.FINISH]
    for values in fractions.values():
        assert values == sorted(values)
        assert values[-1] == 1


def test_out_of_memory_halves_the_batch_and_loses_nothing(image: Image) -> None:
    refiner = FailingRefiner(limit=2)
    happened = events(image, refiner, batch=8, seams="none")
    assert refiner.batches[:4] == [8, 4, 2, 2]
    assert max(refiner.batches[3:]) == 2
    assert [event.message for event in happened if isinstance(event, Notice)][-1].endswith("continuing with 2")
    assert isinstance(happened[-1], Finished)
    assert happened[-1].picture.pixels.tobytes() == result(image).picture.pixels.tobytes()


def test_out_of_memory_with_one_tile_says_which_tile_fits(image: Image) -> None:
    class Tight(FailingRefiner):
        def batch_size(self, tile: Size) -> int:
            return 1 if tile.width <= 64 else 0

    with pytest.raises(OutOfMemory, match=r"tile 64 and overlap 16 should fit$"):
        events(image, Tight(limit=0))


def test_advice_about_memory_is_a_setting_that_is_allowed(image: Image) -> None:
    class Tight(FailingRefiner):
        def batch_size(self, tile: Size) -> int:
            return 1 if tile.width <= 64 else 0

    with pytest.raises(OutOfMemory) as failed:
        events(image, Tight(limit=0), tile="128", overlap=64, feather=32)
    advice = re.findall(r"(tile|overlap|feather) (\d+)", str(failed.value).split(";")[-1])
    assert ("tile", "64") in advice
    changes = {name: value if name == "tile" else int(value) for name, value in advice}
    assert Settings.of(**{**SMALL, "overlap": 64, "feather": 32, **changes})
    with pytest.raises(OutOfMemory, match="no smaller tile seems to fit"):
        events(image, Tight(limit=0), tile="64", overlap=16)


def test_a_piece_that_does_not_fit_is_drawn_in_halves_and_the_rest_is_kept(image: Image) -> None:
    sizes: list[tuple[int, int]] = []

    class Small(NearestUpscaler):
        def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
            sizes.append(image.shape[:2])
            if image.size // 3 > 60 * 75:
                raise OutOfMemory("too large")
            return super().__call__(image)

    large = image.repeat(3, axis=1)
    happened = events(large, upscaler=Small(4), gan_tile=128)
    notices = [event.message for event in happened if isinstance(event, Notice)]
    assert notices == [
        f"a piece of {sizes[0][1]}x{sizes[0][0]} px did not fit into memory; continuing with smaller ones"
    ]
    assert isinstance(happened[-1], Finished)
    np.testing.assert_array_equal(happened[-1].picture.pixels, result(large, gan_tile=128).picture.pixels)
    done = [event.done for event in happened if isinstance(event, Progress) and event.stage is Stage.ENLARGE]
    assert done == sorted(done), "nothing is done again"


def test_unequal_factors_lose_nothing_on_the_axis_that_stays() -> None:
    """Stripes of two pixels keep their contrast, and the result scaled down is the input."""
    image = np.full((48, 40, 3), 0.25, np.float32)
    image[np.arange(48) // 2 % 2 == 1] = 0.75
    tall = result(image, width=200, height=48, consistency=0.0).picture.pixels
    assert tall.shape == (48, 200, 3)
    assert (
        tall[8:-8, 20:-20].std() > 0.75 * image.std()
    )  # the network's own loss; a height reduced to a quarter has 0.2
    true = result(image, width=200, height=48).picture.pixels
    assert true[8:-8, 20:-20].std() > 0.85 * image.std()
    drifts = []
    for consistency in (0.0, 1.0):
        large = result(image, width=200, height=50, consistency=consistency, upscaler=Fading(4)).picture.pixels
        drifts.append(np.abs(resample(large, Size(40, 48)) - image).mean())
    assert drifts[1] < drifts[0] / 2


class Fading(NearestUpscaler):
    """A network that loses contrast."""

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        return super().__call__(image) * np.float32(0.8) + np.float32(0.1)


@pytest.mark.parametrize("seams", SEAMS)
def test_outside_of_a_mask_the_enlarged_picture_stays_bit_for_bit(image: Image, seams: str) -> None:
    base = result(image).picture.pixels
    mask = np.zeros((60, 75), np.float32)
    mask[20:40, 25:60] = 1
    options = {"seams": seams, "strength": 0.8, "seam_strength": 0.8}
    picture = result(image, InvertRefiner(), mask=mask, **options).picture.pixels
    outside = mask.repeat(4, 0).repeat(4, 1) == 0
    outside[72:168, 92:248] = False  # a mask that is smaller than the canvas is soft where it ends
    assert (picture[outside] == base[outside]).all()
    assert np.abs(picture - base)[100:140, 120:220].mean() > 0.01
    nothing = result(image, InvertRefiner(), mask=np.zeros((3, 3), np.float32), **options).picture.pixels
    assert nothing.tobytes() == base.tobytes()


def test_tiles_without_anything_to_redraw_are_skipped_and_told(rng: np.random.Generator) -> None:
    image = np.full((150, 200, 3), 0.5, np.float32)
    image[:60, :80] = rng.random((60, 80, 3))
    seen: list[Box] = []

    class Noting(ToneShiftRefiner):
        def redraw(self, tile, box, sampling, seed):  # type: ignore[no-untyped-def]
            seen.append(box)
            return super().redraw(tile, box, sampling, seed)

    happened = events(image, Noting(), seams="none", consistency=0.0)
    (*_, finished) = happened
    assert isinstance(finished, Finished)
    planned = upscaler_plan(image, seams="none").tiles
    assert planned is not None
    assert 0 < len(seen) < len(planned) / 2
    told = [event.message for event in happened if isinstance(event, Notice)]
    assert told == [f"{len(planned) - len(seen)} tiles skipped: there is nothing to redraw"]
    last = [event for event in happened if isinstance(event, Progress) and event.stage is Stage.REFINE][-1]
    assert last.fraction == 1
    every = result(image, ToneShiftRefiner(), seams="none", consistency=0.0, wavelet_denoise=0.4999)
    assert to_pil(finished.picture).tobytes() == to_pil(every.picture).tobytes()
    assert finished.seams is not None
    assert every.seams is not None
    assert finished.seams.after.worst <= every.seams.after.worst + 0.05


def test_invisible_tiles_are_skipped(rng: np.random.Generator) -> None:
    alpha = np.zeros((150, 200), np.float32)
    alpha[:40, :40] = 1
    picture = replace(Picture.from_array(rng.random((150, 200, 3)).astype(np.float32)), alpha=alpha)
    happened = events(picture, InvertRefiner(), seams="none")
    assert any("skipped" in event.message for event in happened if isinstance(event, Notice))
    opaque = result(replace(picture, alpha=None), InvertRefiner(), seams="none", consistency=0.0).picture.pixels
    (*_, last) = events(picture, InvertRefiner(), seams="none", consistency=0.0)
    assert isinstance(last, Finished)
    np.testing.assert_array_equal(last.picture.pixels[:80, :80], opaque[:80, :80])


def test_the_joints_of_a_result_are_mended_as_in_the_run(image: Image) -> None:
    options = {"seams": "band", "strength": 0.5, "seam_strength": 0.5, "consistency": 0.0, "scale": 1}
    image = image / 2 + np.float32(0.25)  # nothing is clipped between the passes
    drawn = result(image.repeat(4, 0).repeat(4, 1), NoiseRefiner(), **{**options, "seams": "none"}).picture
    whole = result(image.repeat(4, 0).repeat(4, 1), NoiseRefiner(), **options).picture
    before = drawn.pixels.copy()
    (*_, last) = pipeline.mend(drawn, Settings.of(**{**SMALL, **options}), refiner=NoiseRefiner())
    assert isinstance(last, Finished)
    np.testing.assert_allclose(last.picture.pixels, whole.pixels, atol=1e-6)
    assert (drawn.pixels == before).all()
    assert (last.picture.pixels != before).any()


def test_a_broken_tile_keeps_the_enlarged_picture(image: Image) -> None:
    happened = events(image, FailingRefiner(limit=9, broken=((150, 120),)), seams="none")
    notices = [event.message for event in happened if isinstance(event, Notice)]
    assert notices
    assert all("NaN" in notice for notice in notices)
    assert isinstance(happened[-1], Finished)
    assert happened[-1].picture.pixels.tobytes() == result(image).picture.pixels.tobytes()


@pytest.mark.parametrize("inline", [False, True])
def test_inline_models_run_in_the_calling_thread(image: Image, inline: bool) -> None:
    threads: set[int] = set()

    class Upscaling(NearestUpscaler):
        def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
            threads.add(threading.get_ident())
            return super().__call__(image)

    class Noting(NoiseRefiner):
        def redraw(self, tile, box, sampling, seed):  # type: ignore[no-untyped-def]
            threads.add(threading.get_ident())
            return super().redraw(tile, box, sampling, seed)

    happened = events(image, Noting(), upscaler=Upscaling(4), inline=inline, seams="band")
    assert (threads == {threading.get_ident()}) == inline
    assert threading.get_ident() not in threads or inline
    assert isinstance(happened[-1], Finished)
    assert happened[-1].picture.pixels.tobytes() == result(image, NoiseRefiner(), seams="band").picture.pixels.tobytes()
    assert (2, 2) in {(event.step, event.steps) for event in happened if isinstance(event, Progress)}


def test_an_inline_model_can_stop_the_run_and_what_was_finished_stays(image: Image) -> None:
    class Stopping(InvertRefiner):
        def redraw(self, tile, box, sampling, seed):  # type: ignore[no-untyped-def]
            if box.top:
                raise Cancelled("stopped")
            return super().redraw(tile, box, sampling, seed)

    run = pipeline.run(
        Picture.from_array(image),
        Settings.of(**SMALL, batch=1, seams="none", wavelet_color=0.0, wavelet_denoise=0.0),
        upscaler=NearestUpscaler(4),
        refiner=Stopping(),
        inline=True,
    )
    happened: list[Event] = []
    with pytest.raises(Cancelled):
        happened.extend(run)
    last = happened[-1]
    assert isinstance(last, Progress)
    assert last.picture is not None
    whole = result(image).picture.pixels
    changed = np.abs(last.picture.pixels - whole).max(axis=(1, 2)) > 0.1
    assert changed[:64].all()
    assert not changed[160:].any()


def test_closing_stops_within_one_step_and_keeps_finished_tiles(image: Image) -> None:
    steps: list[int] = []

    class Counting(InvertRefiner):
        def __call__(self, tiles, *, boxes, sampling, seed, on_step):  # type: ignore[no-untyped-def]
            def counted(step: int, of: int) -> None:
                steps.append(step)
                on_step(step, of)

            return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=counted)

    settings = Settings.of(
        **{**SMALL, "steps": 50, "batch": 1, "seams": "none", "wavelet_color": 0.0, "wavelet_denoise": 0.0}
    )
    running = pipeline.run(Picture.from_array(image), settings, upscaler=NearestUpscaler(4), refiner=Counting())
    base = kept = None
    for event in running:
        assert isinstance(event, Progress)
        if event.stage == Stage.REFINE:
            base = event.picture.pixels.copy() if base is None and event.picture is not None else base
            if event.done == 2 and event.step == 0:
                kept = event.picture
                break
    taken = len(steps)
    running.close()  # type: ignore[attr-defined]
    assert len(steps) <= taken + 50
    assert kept is not None
    assert base is not None
    changed = (kept.pixels != base).any(axis=2)
    assert 0.05 < changed.mean() < 0.9


def test_networks_rest_after_a_step_until_they_may_go_on(image: Image) -> None:
    class Stepping(NearestUpscaler):
        def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
            assert on_step is not None
            on_step(1, 1)
            return super().__call__(image, on_step=on_step)

    settings = Settings.of(**{**SMALL, "batch": 1, "seams": "band"})
    go_on, held = threading.Event(), list[str]()

    def hold() -> None:
        held.append(threading.current_thread().name)
        go_on.wait()

    ran = threading.Thread(
        target=lambda: ended.extend(
            pipeline.run(
                Picture.from_array(image), settings, upscaler=Stepping(4), refiner=IdentityRefiner(), hold=hold
            )
        )
    )
    ended: list[Event] = []
    ran.start()
    while not held:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(held) == 1  # the second network call never begins
    go_on.set()
    ran.join()
    steps = [event for event in ended if isinstance(event, Progress) and event.step]
    assert {event.stage for event in steps} == {Stage.ENLARGE, Stage.REFINE, Stage.SEAMS}
    assert len(held) == len(steps)
    assert all(name.startswith("network") for name in held)


def test_alpha_goes_through_the_same_enlargement(rng: np.random.Generator) -> None:
    alpha = (rng.random((20, 30)) > 0.5).astype(np.float32)
    picture = replace(Picture.from_array(rng.random((20, 30, 3)).astype(np.float32)), alpha=alpha)
    large = result(picture, IdentityRefiner()).picture
    assert large.alpha is not None
    np.testing.assert_allclose(large.alpha, alpha.repeat(4, 0).repeat(4, 1), atol=1e-6)


def test_metadata_travels(image: Image) -> None:
    picture = replace(Picture.from_array(image), icc=b"profile", text={"parameters": "a tree"}, depth=16)
    large = result(picture).picture
    assert (large.icc, large.text, large.depth) == (b"profile", {"parameters": "a tree"}, 16)


def test_the_input_is_not_changed(image: Image) -> None:
    before = image.copy()
    picture = Picture.from_array(image)
    for refiner in (None, NoiseRefiner()):
        for scale in (1, 4):
            events(picture, refiner, scale=scale)
    assert picture.pixels.tobytes() == before.tobytes()


def test_the_seam_score_is_public(image: Image) -> None:
    finished = result(image, ToneShiftRefiner(), seams="none", wavelet_color=0.0)
    assert seam_score(finished.picture.pixels, result(image).picture.pixels).worst >= 0
