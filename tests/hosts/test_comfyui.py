"""The ComfyUI nodes over a stand-in for the host: their inputs, what is cut to tiles, noise, masks, progress, interruption."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import comfyui

from upscaler.geometry import Box, Size
from upscaler.options.settings import Sampling, options

ANCHOR = {  # an API workflow of Ultimate SD Upscale, as its own node writes it
    "upscale_by": 2.0, "seed": 1, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
    "denoise": 0.2, "mode_type": "Linear", "tile_width": 512, "tile_height": 512, "mask_blur": 8, "tile_padding": 32,
    "seam_fix_mode": "Half Tile", "seam_fix_denoise": 1.0, "seam_fix_width": 64, "seam_fix_mask_blur": 8,
    "seam_fix_padding": 16, "force_uniform_tiles": True, "tiled_decode": False, "batch_size": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    comfyui.management().interrupted = False
    comfyui.ProgressBar.on_update = staticmethod(lambda: None)


def node(name: str) -> Any:
    return getattr(comfyui.pack().ui.upscaler_ui.comfyui, name)


def ids(name: str) -> list[str]:
    return [widget.id for widget in node(name).define_schema().inputs]


def given(**more: Any) -> dict[str, Any]:
    """What the host hands to the large nodes."""
    positive, negative = [[[torch.ones(1, 4, 8) * value, {}]] for value in (0.5, -0.5)]
    models = {"model": comfyui.Model(), "positive": positive, "negative": negative, "vae": comfyui.VAE()}
    sampling = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 0.3}
    return {**models, **sampling, "tile_width": 64, "tile_height": 64, "tile_padding": 8, "mask_blur": 2, **more}


def photo(size: Size, channels: int = 3, count: int = 1) -> torch.Tensor:
    y, x = np.mgrid[: size.height, : size.width] / max(size)
    layers = np.stack([np.sin(3 * x + k * y + k) / 2 + 0.5 for k in range(channels)], axis=-1).astype(np.float32)
    return torch.from_numpy(np.stack([layers * (1 - 0.1 * k) for k in range(count)]))


# inputs -----------------------------------------------------------------------------------------------------------------


def test_every_setting_is_an_input_or_has_its_place_in_the_host() -> None:
    table = comfyui.part("inputs")
    offered = [name for option in table.offered() for name in table.names(option)]
    assert not [name for name in offered if name not in ids("Upscale")]
    left = {option.name for option in options()} - {option.name for option in table.offered()}
    assert left == {*table.HOST, *(option.name for option in options() if option.group == "output")}


@pytest.mark.parametrize("name", ["Upscale", "Refine", "TilePlan", "SeamFix", "WaveletFilter", "SeamScore"])
def test_schemas_are_sound_and_have_a_help_page(name: str) -> None:
    schema = node(name).define_schema()
    assert schema.node_id == f"TDU_{name}"
    assert len(set(ids(name))) == len(ids(name))
    page = comfyui.ROOT / comfyui.pack().WEB_DIRECTORY / "docs" / f"{schema.node_id}.md"
    text = page.read_text("utf-8")
    assert text.startswith(f"# {schema.display_name}\n")
    assert not [widget for widget in ids(name) if f"`{widget}`" not in text]


def test_what_ultimate_sd_upscale_requires_is_all_that_is_required() -> None:
    required = {widget.id for widget in node("Upscale").define_schema().inputs if not widget.optional}
    assert required == {"image", "model", "positive", "negative", "vae"} | {
        *list(ANCHOR)[:7],
    }


def test_its_values_mean_what_they_meant() -> None:
    settings = comfyui.part("inputs").settings_of(ANCHOR, Size(300, 200))
    assert settings.target.scale == 2
    assert settings.tiles.tile == "544"  # what the model sees: the tile and its padding
    assert (settings.tiles.overlap, settings.tiles.feather, settings.tiles.order) == (32, 32, "linear")
    assert (settings.seams.mode, settings.seams.width) == ("half-tile", 64)
    assert settings.seams.strength == 0.2  # theirs has no effect there, and at its default would here
    assert (settings.diffusion.strength, settings.diffusion.steps, settings.diffusion.seed) == (0.2, 20, 1)
    assert comfyui.part("inputs").settings_of({**ANCHOR, "mode_type": "None"}, Size(9, 9)).diffusion.strength == 0


@pytest.mark.parametrize("name", ["mode_type", "seam_fix_mode"])
def test_an_unknown_choice_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(comfyui.part("....upscaler.errors").SettingsError, match=f"^{name}: 'Zigzag' .*None"):
        comfyui.part("inputs").settings_of({name: "Zigzag"}, Size(9, 9))


@pytest.mark.parametrize(
    ("changes", "tile", "overlap", "feather"),
    [
        ({}, "800", 32, 32),
        ({"tile_width": 256}, "288", 32, 32),
        ({"tile_width": 1024, "tile_height": 512}, "2x4", 32, 32),
        ({"tile_width": 128, "tile_padding": 8192, "mask_blur": 64}, "192", 64, 64),
        ({"tile_padding": 0}, "768", 0, 0),
    ],
)
def test_geometry(changes: dict[str, Any], tile: str, overlap: int, feather: int) -> None:
    inputs = {"upscale_by": 4.0, **changes}
    settings = comfyui.part("inputs").settings_of(inputs, Size(500, 400), native_tile=768)
    assert (settings.tiles.tile, settings.tiles.overlap, settings.tiles.feather) == (tile, overlap, feather)


@pytest.mark.parametrize(("patch", "multiple"), [(None, 8), (2, 16), ((1, 2, 2), 16)])
def test_tiles_fit_the_patches_of_a_transformer(patch: Any, multiple: int) -> None:
    assert comfyui.refiner(comfyui.Model(patch)).multiple == multiple


@pytest.mark.parametrize(("context", "side"), [(768, 512), (1024, 768), (2048, 1024), (None, 1024)])
def test_tiles_are_what_the_model_was_trained_on(context: int | None, side: int) -> None:
    assert comfyui.part("sampling").native_tile(comfyui.Model(context=context)) == side


# noise ------------------------------------------------------------------------------------------------------------------


def canvas_noise(*boxes: Box) -> Any:
    shape = (len(boxes), 4, boxes[0].size.height, boxes[0].size.width)
    return comfyui.part("noise").CanvasNoise(7, list(boxes), shape, torch.device("cpu"))


LEFT, RIGHT = Box(0, 0, 32, 32), Box(16, 8, 48, 40)


def ask(noise: Any, *intervals: tuple[float, float]) -> list[torch.Tensor]:
    return [noise(torch.tensor(a), torch.tensor(b)) for a, b in intervals]


def test_noise_of_every_step_belongs_to_the_canvas() -> None:
    intervals = (4.0, 3.0), (4.0, 2.0), (2.0, 1.5), (2.0, 1.0)  # as DPM++ SDE asks: half steps and whole ones
    together = ask(canvas_noise(LEFT, RIGHT), *intervals)
    for alone, both in zip(ask(canvas_noise(RIGHT), *intervals), together):
        torch.testing.assert_close(alone[0], both[1])
        torch.testing.assert_close(both[0, :, 8:, 16:], both[1, :, :24, :16])


def test_noise_is_the_increment_of_one_path() -> None:
    whole = Box(0, 0, 128, 128)
    first, both, second = (layer.flatten() for layer in ask(canvas_noise(whole), (4, 3), (4, 1), (3, 1)))
    for layer in (first, both, second):
        assert abs(layer.mean()) < 0.02
        assert abs(layer.std() - 1) < 0.02
    torch.testing.assert_close(both, (first + second * 2**0.5) / 3**0.5, atol=1e-5, rtol=0)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.02


def test_a_point_between_two_known_ones_is_drawn_from_the_bridge() -> None:
    noise = canvas_noise(Box(0, 0, 128, 128))
    whole, part, rest = (layer.flatten() for layer in ask(noise, (4, 0), (4, 3), (3, 0)))
    torch.testing.assert_close(whole * 2, part + rest * 3**0.5, atol=1e-5, rtol=0)
    assert abs(part.std() - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([part, rest]))[0, 1]) < 0.02


# conditioning -----------------------------------------------------------------------------------------------------------

CANVAS, SOURCE = Size(800, 400), Size(400, 200)
TILES = [Box(0, 0, 256, 256), Box(272, 72, 528, 328), Box(544, 144, 800, 400)]


def groups(positive: dict[str, Any], boxes: list[Box] = TILES, **more: Any) -> list[Any]:
    entries = [[torch.ones(1, 4, 8), positive]]
    cutter = comfyui.part("conditioning").Cutter(entries, [[torch.zeros(1, 4, 8), {}]], SOURCE, CANVAS, 8, **more)
    return cutter.groups(boxes)


def test_plain_prompts_share_a_batch() -> None:
    (group,) = groups({"pooled_output": 1})
    assert group.tiles == [0, 1, 2]
    assert group.positive[0][1] == {"pooled_output": 1}


def test_areas_are_cut_and_dropped_and_never_widened() -> None:
    """In pixels / 8 of the source: 80x40 to 160x100, which is 160x80 to 320x200 of the canvas."""
    area = {"area": (60 // 8 + 1, 80 // 8, 40 // 8, 80 // 8), "strength": 0.7}
    found = groups(area)
    assert [group.tiles for group in found] == [[0], [1]]  # nothing is asked for in the third
    assert found[0].positive[0][1] == {"area": (16, 12, 10, 20), "strength": 0.7}
    assert found[1].positive[0][1] == {"area": (16, 6, 1, 0), "strength": 0.7}
    covered = groups({"area": ("percentage", 1.0, 1.0, 0.0, 0.0), "strength": 0.7})
    assert [group.tiles for group in covered] == [[0, 1, 2]]
    assert "area" not in covered[0].positive[0][1]


def test_a_prompt_that_misses_a_tile_is_dropped_beside_others() -> None:
    entries = [[torch.ones(1), {}], [torch.ones(1), {"area": (4, 4, 0, 0)}]]
    cutter = comfyui.part("conditioning").Cutter(entries, entries[1:], SOURCE, CANVAS, 8)
    first, rest = cutter.groups(TILES)
    assert (first.tiles, rest.tiles) == ([0], [1, 2])
    assert (len(first.positive), len(rest.positive)) == (2, 1)
    assert rest.negative is rest.positive  # nothing is unwanted there


def test_masks_are_cut_for_each_sample() -> None:
    mask = torch.zeros(1, 100, 200)
    mask[:, :, :100] = 1
    found = groups({"mask": mask, "mask_strength": 0.5})
    assert [group.tiles for group in found] == [[0, 1]]
    cut = found[0].positive[0][1]["mask"]
    assert cut.shape == (2, 32, 32)
    assert (cut[0] > 0.99).all()
    assert cut[1, :, :15].min() > 0.99
    assert cut[1, :, 17:].max() < 0.01
    bounds = groups({"mask": torch.ones(1, 9, 9), "set_area_to_bounds": True})
    assert [group.tiles for group in bounds] == [[0], [1], [2]]


def test_hints_are_cut_antialiased_and_the_chain_is_copied() -> None:
    first, second = comfyui.ControlBase(), comfyui.ControlBase()
    fine = (torch.arange(3200) % 2).float().expand(1, 3, 1600, 3200)  # four pixels of the hint for one of the canvas
    first.set_cond_hint(fine, strength=0.6)
    second.set_cond_hint(torch.rand(1, 3, 400, 1200)).set_previous_controlnet(first)  # wider: the host centres it
    (group,) = groups({"control": second})
    copy = group.positive[0][1]["control"]
    assert copy is not second
    assert copy.cond_hint_original.shape == (3, 3, 256, 256)
    torch.testing.assert_close(copy.cond_hint_original[1], second.cond_hint_original[0, :, 72:328, 472:728])
    previous = copy.previous_controlnet
    assert previous.strength == 0.6
    assert (previous.cond_hint_original - 0.5).abs().max() < 0.05
    assert first.cond_hint_original is fine
    entries = [[torch.ones(1), {"control": second}]]
    (group,) = comfyui.part("conditioning").Cutter(entries, entries, SOURCE, CANVAS, 8).groups(TILES)
    assert group.positive[0][1]["control"] is group.negative[0][1]["control"]  # the host batches them by identity


def test_boxes_latents_and_sizes() -> None:
    model, embedding = object(), torch.ones(1, 8)
    gligen = ("position", model, [(embedding, 5, 5, 0, 0), (embedding, 10, 10, 15, 40)])
    first, second, third = groups({"gligen": gligen})
    assert first.positive[0][1]["gligen"] == ("position", model, [(embedding, 10, 10, 0, 0)])
    assert "gligen" not in second.positive[0][1]
    assert third.positive[0][1]["gligen"][2] == [(embedding, 20, 20, 12, 12)]
    ramp = torch.linspace(0, 1, 50).expand(1, 4, 25, 50)
    other = torch.rand(1, 4, 30, 30)
    options = {"reference_latents": [ramp, other], "concat_latent_image": ramp[:, :, None], "width": 4096}
    (group,) = groups({**options, "target_width": 800, "target_height": 400})
    cut = group.positive[0][1]
    assert cut["reference_latents"][0].shape == (3, 4, 32, 32)
    torch.testing.assert_close(cut["reference_latents"][0][0, 0, 3, 16], torch.tensor(0.16), atol=0.01, rtol=0)
    assert torch.equal(cut["reference_latents"][1], other.expand(3, -1, -1, -1))  # of another shape: not this picture
    assert cut["concat_latent_image"].shape == (3, 4, 1, 32, 32)
    assert (cut["width"], cut["target_width"], cut["target_height"]) == (4096, 256, 256)


# refiner ----------------------------------------------------------------------------------------------------------------

CROPS = [np.random.default_rng(seed).random((64, 96, 3), np.float32) for seed in range(3)]
BOXES = [Box(0, 0, 96, 64), Box(80, 0, 176, 64), Box(904, 536, 1000, 600)]


def redraw(refiner: Any, crops: Any = CROPS, boxes: Any = BOXES, **sampling: Any) -> list[Any]:
    sampling = Sampling(**{"strength": 0.5, "steps": 2, **sampling})
    return refiner(crops, boxes=boxes, sampling=sampling, seed=3, on_step=lambda k, n: None)


def test_custom_sigmas_are_for_the_tiles_and_not_for_the_seams() -> None:
    steps: list[int] = []
    refiner = comfyui.refiner(inputs={"custom_sigmas": torch.tensor([3.0, 2, 1, 0]), "whole": (0.5, 2)})
    for strength in (0.5, 0.2):
        sampling = Sampling(strength=strength, steps=2)
        refiner(CROPS, boxes=BOXES, sampling=sampling, seed=3, on_step=lambda k, n: steps.append(n))
    assert steps == [3, 3, 3, 2, 2]


def test_a_fixed_ring_is_held_but_at_the_ends_of_the_canvas() -> None:
    model = comfyui.Model()
    redraw(comfyui.refiner(model, ring=16))
    mask = model.calls[0][2][:, 0]
    assert mask[0, :6, :10].all()
    assert not mask[0, :, 10:].any()
    assert not mask[0, 6:].any()
    assert not mask[1, :, :2].any()
    assert mask[2, 2:, 2:].all()
    assert not mask[2, :2].any()


def test_the_sampler_holds_what_lies_outside_of_the_mask() -> None:
    model = comfyui.Model()
    mask = np.zeros((600, 1000, 1), np.float32)
    mask[:, :40] = 1
    redraw(comfyui.refiner(model, mask=mask))
    first, second, third = model.calls[0][2][:, 0]
    assert first[:, :5].all()
    assert not first[:, 6:].any()
    assert not second.any()
    assert not third.any()


def test_outside_of_the_mask_the_node_gives_the_enlarged_picture() -> None:
    mask = torch.zeros(1, 48, 64)
    mask[:, :, :20] = 1
    (plain,) = node("Upscale").execute(photo(Size(64, 48)), **given(denoise=0.0)).args
    (masked,) = node("Upscale").execute(photo(Size(64, 48)), **given(mask=mask)).args
    right = plain.shape[2] * 3 // 4
    assert torch.equal(masked[:, :, right:], plain[:, :, right:])
    assert not torch.equal(masked[:, :, :right], plain[:, :, :right])


def test_the_hosts_errors() -> None:
    model = comfyui.Model()
    model.fails_above = 1
    with pytest.raises(comfyui.part("....upscaler.errors").OutOfMemory):
        redraw(comfyui.refiner(model))
    comfyui.management().interrupt_current_processing()
    with pytest.raises(comfyui.InterruptProcessingException):
        redraw(comfyui.refiner())


def test_an_interruption_is_seen_within_an_evaluation() -> None:
    model = comfyui.Model()
    network = model.get_model_object("diffusion_model")
    hook = network.register_forward_hook(lambda *_: comfyui.management().interrupt_current_processing())
    steps: list[int] = []
    with pytest.raises(comfyui.InterruptProcessingException):
        comfyui.refiner(model)(
            CROPS, boxes=BOXES, sampling=Sampling(), seed=3, on_step=lambda step, of: steps.append(step)
        )
    assert not steps
    hook.remove()
    assert not network._forward_hooks  # and nothing of it stays


# nodes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4])
def test_a_batch_of_odd_pictures(channels: int) -> None:
    image = photo(Size(37, 53), channels, 2)
    (result,) = node("Upscale").execute(image, gan="none", **given(upscale_by=3.0)).args
    assert result.shape == (2, 159, 111, channels)
    assert result.dtype == torch.float32
    (one,) = node("Upscale").execute(image[1:], gan="none", **given(upscale_by=3.0)).args
    assert torch.equal(one[0], result[1])
    values = [value for value, _, _ in comfyui.ProgressBar.shown]
    assert values == sorted(values)
    assert values[-1] == comfyui.ProgressBar.shown[-1][1]


def test_progress_shows_the_canvas_and_an_interruption_stops_within_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui.part("running"), "_PREVIEW_SECONDS", 0)
    inputs = given(steps=5, seam_fix_mode="None")
    node("Refine").execute(photo(Size(160, 96)), **inputs)
    kind, image, side = next(preview for _, _, preview in comfyui.ProgressBar.shown if preview)
    assert (kind, image.size) == ("JPEG", (160, 96))
    assert side >= 160
    told = len(comfyui.ProgressBar.shown)

    def stop() -> None:
        if len(comfyui.ProgressBar.shown) == 12:
            comfyui.management().interrupt_current_processing()

    comfyui.ProgressBar.on_update = staticmethod(stop)
    with pytest.raises(comfyui.InterruptProcessingException):
        node("Refine").execute(photo(Size(160, 96)), **inputs)
    assert len(comfyui.ProgressBar.shown) == 12 < told


def test_outside_the_mask_nothing_changes() -> None:
    image = photo(Size(200, 120))
    mask = torch.zeros(1, 60, 100)
    mask[:, 20:40, 30:60] = 1
    (result,) = (
        node("Refine").execute(image, **given(mask=mask, denoise=0.9, wavelet_color=0.0, wavelet_denoise=0.0)).args
    )
    changed = ((result - image).abs() > 1e-6).any(dim=-1)[0]  # the engine's grid is that fine
    assert not changed[:36].any()
    assert not changed[:, 124:].any()
    assert (result - image)[0, 45:75, 65:115].abs().mean() > 0.01
    nothing = node("Refine").execute(image, **given(mask=torch.zeros(1, 8, 8))).args[0]
    torch.testing.assert_close(nothing, image, atol=1e-6, rtol=0)


def test_levels_of_eight_bits_are_saved_as_they_came() -> None:
    """The host's SaveImage cuts off what is below a level (nodes.py)."""
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3) / 255
    (result,) = node("Upscale").execute(levels, gan="none", **given(upscale_by=1.0, mode_type="None")).args
    saved = np.clip(255.0 * result.numpy(), 0, 255).astype(np.uint8)
    assert np.array_equal(saved[0, ..., 0].ravel(), np.arange(256))


def test_the_smaller_nodes() -> None:
    image = photo(Size(160, 96))
    (redrawn,) = node("Refine").execute(image, **given(seam_fix_mode="None", denoise=0.9)).args
    (mended,) = node("SeamFix").execute(redrawn, **given(seam_fix_mode="Band Pass")).args
    assert mended.shape == redrawn.shape
    assert not torch.equal(mended, redrawn)
    grid = {name: given()[name] for name in ("tile_width", "tile_height", "tile_padding", "mask_blur")}
    worst, visible, report = node("SeamScore").execute(image, image, **grid).args
    assert (worst, visible) == (0.0, 0)
    assert "0 of" in report
    (toned,) = node("WaveletFilter").execute(image * 0.8 + 0.1, image, 1.0, 0.5, 4.0).args
    assert (toned - image).abs().mean() < (image * 0.2 - 0.1).abs().mean() / 4
    drawn, summary, count = node("TilePlan").execute(image, upscale_by=2.0, **grid).args
    assert drawn.shape == (1, 192, 320, 3)
    assert f"{count} tiles of 64x64" in summary
    joined = node("SeamFix").execute(image, reference=image, **given(seam_fix_mode="Auto")).args[0]
    torch.testing.assert_close(joined, image, atol=1e-6, rtol=0)  # no joint stands out


# the stand-in -----------------------------------------------------------------------------------------------------------


def test_the_pack_is_loaded_without_a_host_and_finds_it_only_when_asked() -> None:
    tree = ast.parse((comfyui.ROOT / "__init__.py").read_text("utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    assert names == ["comfy_entrypoint"]  # and nothing of the older way, which would take precedence
    code = """import asyncio, importlib.util, sys
spec = importlib.util.spec_from_file_location("pack", "__init__.py", submodule_search_locations=["."])
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
print([name for name in sys.modules if name.startswith("pack.")])
asyncio.run(pack.comfy_entrypoint())"""
    done = subprocess.run([sys.executable, "-c", code], cwd=comfyui.ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert "No module named 'comfy" in done.stderr.splitlines()[-1]
    assert "pip install -r" in done.stderr.splitlines()[-1]


def test_the_pack_loads_nothing_that_hosts_lack() -> None:
    code = "import sys; sys.path.insert(0, 'tests/hosts'); import comfyui; comfyui.part('nodes'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=comfyui.ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"diffusers", "transformers", "accelerate", "gradio", "rich", "tifffile", "upscaler", "ui"}
