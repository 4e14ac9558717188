"""The WebUI extension in a host of its own: what it asks of the host, and what the user gets."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import webui

from upscaler.options.settings import Settings, options

gr = pytest.importorskip("gradio")

SMALL = {"scale": 2, "gan": "Double", "tile": "128", "overlap": 32, "feather": 16, "seams": "none"}
FAITHFUL = {"wavelet_color": 0, "wavelet_denoise": 0, "consistency": 0}


def built(ui: Callable[..., Any], *args: Any) -> Any:
    """What a script's `ui` gives within Gradio's Blocks, which outside of a running loop would make one and leave it open."""

    async def build() -> Any:
        with gr.Blocks():
            return ui(*args)

    return asyncio.run(build())


@pytest.fixture(scope="module")
def started() -> types.SimpleNamespace:
    host = webui.host()
    host.instance = host.script.Script()
    host.widgets = built(host.instance.ui, True)
    host.names = [option.name for option in host.form.script_options()]
    return host


@pytest.fixture
def host(started: types.SimpleNamespace) -> types.SimpleNamespace:
    """The host as after its start."""
    webui.restart(started.shared)
    return started


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """Sets what happens after each step of the host's sampler."""
    return lambda call: monkeypatch.setattr(webui, "on_step", call)


def photo(size: tuple[int, int] = (128, 96)) -> Image.Image:
    with Image.open(webui.ROOT / "examples" / "photo.png") as file:
        return file.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def job(*images: Image.Image, **fields: Any) -> webui.StableDiffusionProcessingImg2Img:
    fields = {"prompt": "a hill", "denoising_strength": 0.3, "steps": 3, "seed": 5, **fields}
    return webui.StableDiffusionProcessingImg2Img(init_images=list(images) or [photo()], **fields)


def run(host: types.SimpleNamespace, p: Any = None, **options: Any) -> Any:
    options = {**SMALL, **options}
    assert set(options) <= set(host.names)
    return host.instance.run(p or job(), *(options.get(name) for name in host.names))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / 255


def plain(host: types.SimpleNamespace, **options: Any) -> np.ndarray:
    """The picture without a diffusion pass."""
    return pixels(run(host, job(denoising_strength=0.0), **options).images[0])


# -- the form


def test_every_option_has_a_place(host: types.SimpleNamespace) -> None:
    """In the form, or in the tab, or it is about files, devices and models that are the host's business."""
    assert {o.name for o in options() if o.group in host.form.GROUPS} == {
        *host.names,
        *host.form.FROM_TAB,
        *host.form.LEFT_OUT,
    }
    assert not {"diffusion", "output", "hardware"} & set(host.form.GROUPS)
    assert [widget.elem_id.rsplit("upscale_")[-1] for widget in host.widgets] == host.names
    assert set(host.form.EXTRAS) <= {o.name for o in options()}


def test_only_in_img2img(host: types.SimpleNamespace) -> None:
    assert host.instance.show(True)
    assert not host.instance.show(False)


def test_networks_of_both_sides_are_offered(host: types.SimpleNamespace) -> None:
    choices = host.widgets[host.names.index("gan")].choices
    choices = [choice if isinstance(choice, str) else choice[0] for choice in choices]  # Gradio 3.41, and later ones
    assert choices[:2] == ["none", "realesrgan-x4plus"]
    assert choices[-1] == "Double"
    assert "None" not in choices


def read(host: types.SimpleNamespace, **given: Any) -> dict[str, Any]:
    values = [given.get(name) for name in host.names]
    return host.form.read(host.form.script_options(), values, host.instance.networks)


def test_a_request_may_leave_out_name_or_count(host: types.SimpleNamespace) -> None:
    default = Settings()
    assert read(host) == {o.name: default.value(o) for o in options() if o.name in host.names}
    assert read(host, order=1)["order"] == "chess"
    assert read(host, order="chess")["order"] == "chess"
    assert read(host, gan=len(host.instance.networks) - 1)["gan"] == "Double"
    assert read(host, tile=256, overlap=64.0)["tile"] == "256"
    assert read(host, overlap=64.0)["overlap"] == 64


@pytest.mark.parametrize(
    ("given", "message"),
    [({"seams": "stripes"}, "seams.mode"), ({"overlap": -8}, "tiles.overlap"), ({"order": 7}, "tiles.order")],
)
def test_a_wrong_value_is_one_line(host: types.SimpleNamespace, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(host, **given)


def test_the_number_of_arguments_is_exact(host: types.SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=f"2 values; give {len(host.names)}: scale, width"):
        host.instance.run(job(), 2, None)


PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')  # how the hosts read an infotext


def test_the_infotext_brings_the_settings_back(host: types.SimpleNamespace) -> None:
    given = {**SMALL, "width": 200, "overlap": 40, "order": "chess", "seam_strength": 0.35, "gan_tile": 64}
    result = run(host, **given)
    params = dict(PARAM.findall(result.infotexts[0].splitlines()[-1]))
    assert params["Script"] == "Tiled diffusion upscale"
    assert params["Denoising strength"] == "0.3"
    assert params["Size"] == "512x512"
    assert params["Model"] == "model"  # what the host notes on a tile
    pasted = {name: key(params) for name, (_, key) in zip(host.names, host.instance.infotext_fields)}
    empty = {name: pasted.pop(name)["value"] for name in ("width", "height", "megapixels")}
    assert {**pasted, **empty} == read(host, **given)
    assert all(key({}) is None for _, key in host.instance.infotext_fields)
    assert result.images[0].info["parameters"] == result.infotexts[0]


# -- the run


def test_jobs_are_counted_before_the_first_and_all_are_done(host: types.SimpleNamespace) -> None:
    run(host, seams="band")
    state = host.shared.state
    first = state.log.index("process 1 at 0.3")
    assert "job 1 of 7" in state.log[:first]  # enlarging, and six tiles
    assert "process 1 at 0.2" not in state.log[first : state.log.index("job 7 of 7")]
    assert state.job_no == state.job_count > 7
    assert state.log[-1] == "preview"
    assert state.current_image.size == (256, 192)


def test_a_tile_gets_what_the_tab_says_and_nothing_that_spoils_it(host: types.SimpleNamespace) -> None:
    tab = {"sampler_name": "Heun", "styles": ["dark"], "cfg_scale": 4.0, "negative_prompt": "fog", "steps": 3}
    settings = dict(host.shared.opts.data)
    run(host, job(**tab, restore_faces=True, tiling=True, override_settings={"CLIP_stop_at_last_layers": 2}))
    for p in host.shared.processed:
        assert {name: getattr(p, name) for name in tab} == tab
        assert (p.width, p.height) == (104, 112)
        assert p.do_not_save_samples
        assert p.do_not_save_grid
        assert not p.restore_faces
        assert not p.tiling
        assert p.override_settings["CLIP_stop_at_last_layers"] == 2
        assert p.override_settings["show_progress_every_n_steps"] > 1000  # no tile in the preview
    assert host.shared.opts.data == settings


def test_the_job_of_the_user_is_left_as_it_was(host: types.SimpleNamespace) -> None:
    p = job(subseed_strength=0.5, override_settings={"a": 1})
    before = {key: value.copy() if isinstance(value, (dict, list)) else value for key, value in vars(p).items()}
    run(host, p, seams="half-tile")
    assert vars(p) == before


@pytest.mark.parametrize(
    ("fields", "fixed", "evaluations"),
    [({}, False, 7), ({"cfg_scale": 7.0}, False, 14), ({"denoising_strength": 1.0}, False, 20), ({}, True, 20)],
)
def test_the_plan_counts_the_steps_of_the_host(
    host: types.SimpleNamespace, fields: dict[str, Any], fixed: bool, evaluations: int
) -> None:
    """Figures of A1111 1.10.1 and of Forge, for 20 steps."""
    host.shared.opts.data["img2img_fix_steps"] = fixed
    p = job(**{"steps": 20, "cfg_scale": 1.0, **fields})
    settings = Settings.of(strength=p.denoising_strength, scale=2)
    refiner = host.tiles.HostRefiner(host.tiles.TileJob.of(p))
    assert refiner.habits.evaluations(settings.diffusion.sampling) == evaluations


def test_tiles_in_batches_give_the_same_picture(host: types.SimpleNamespace) -> None:
    one = run(host, seams="band").images[0]
    host.shared.processed.clear()
    four = run(host, job(batch_size=4), seams="band").images[0]
    assert [len(p.init_images) for p in host.shared.processed][:2] == [4, 2]
    assert one.tobytes() == four.tobytes()


def test_noise_belongs_to_the_canvas(host: types.SimpleNamespace) -> None:
    """Where tiles overlap they get the same noise: no joint, although nothing mends or filters."""
    whole = pixels(run(host, tile="256", **FAITHFUL).images[0])
    tiled = pixels(run(host, **FAITHFUL).images[0])
    assert np.abs(tiled - plain(host, **FAITHFUL)).mean() > 0.02
    assert np.abs(tiled - whole).max() < 2.5 / 255


def test_seed_variation_and_count(host: types.SimpleNamespace) -> None:
    first = run(host).images[0].tobytes()
    varied = [run(host, job(subseed=9, subseed_strength=strength)) for strength in (0.0, 0.2)]
    assert varied[0].images[0].tobytes() == first
    assert varied[1].images[0].tobytes() != first
    assert "Variation seed: 9" in varied[1].infotexts[0]
    three = run(host, job(n_iter=3))
    assert three.all_seeds == [5, 6, 7]
    assert three.images[0].tobytes() == first
    assert len({image.tobytes() for image in three.images}) == 3
    assert "Seed: 7" in three.infotexts[2]
    assert run(host, job(seed=-1)).seed == 4242


def test_sde_samplers_get_seeds_of_their_own_by_position(host: types.SimpleNamespace) -> None:
    run(host, job(batch_size=4))
    seeds = [seed for p in host.shared.processed for seed in p.seed]
    assert len(set(seeds)) == 6
    host.shared.processed.clear()
    run(host)
    assert seeds == [seed for p in host.shared.processed for seed in p.seed]


def test_interrupt_keeps_what_was_finished(host: types.SimpleNamespace, during: Any) -> None:
    def interrupt(p: Any) -> None:
        host.shared.state.interrupted = p.boxes[0].top > 0

    base, whole = plain(host, **FAITHFUL), pixels(run(host, **FAITHFUL).images[0])
    host.shared.saved.clear()
    during(interrupt)
    result = run(host, job(n_iter=4), **FAITHFUL)
    assert len(result.images) == 1
    stopped = pixels(result.images[0])
    np.testing.assert_allclose(stopped[:60], whole[:60], atol=1 / 255)
    np.testing.assert_allclose(stopped[132:], base[132:], atol=1 / 255)
    assert "Seed: 5" in result.infotexts[0]
    assert host.shared.saved == []  # the host's setting for incomplete pictures


def test_interrupt_keeps_the_results_before(host: types.SimpleNamespace, during: Any) -> None:
    def interrupt(p: Any) -> None:
        host.shared.state.interrupted = p.canvas_seed == 6

    during(interrupt)
    result = run(host, job(n_iter=3))
    assert result.all_seeds == [5, 6]
    assert [seed for _, seed, *_ in host.shared.saved] == [5]


def test_interrupt_while_enlarging(host: types.SimpleNamespace) -> None:
    host.shared.state.interrupted = True
    for gan in ("Double", "realesr-animevideov3", "none"):
        result = pixels(run(host, gan=gan).images[0])
        assert result.shape == (192, 256, 3)
        assert abs(result.mean() - pixels(photo()).mean()) < 0.02
    assert host.shared.processed == []


def test_stop_generating_finishes_the_batch(host: types.SimpleNamespace, during: Any) -> None:
    def stop(p: Any) -> None:
        host.shared.state.stopping_generation = True

    during(stop)
    run(host)
    assert len(host.shared.processed) == 1


def test_skip_leaves_a_tile_as_it_is(host: types.SimpleNamespace, during: Any) -> None:
    def skip(p: Any) -> None:
        host.shared.state.skipped = p.boxes[0].left == 0

    base = plain(host, **FAITHFUL)
    during(skip)
    result = pixels(run(host, **FAITHFUL).images[0])
    np.testing.assert_allclose(result[:, :64], base[:, :64], atol=1 / 255)
    assert np.abs(result[:, 130:] - base[:, 130:]).mean() > 0.02
    assert not host.shared.state.skipped


def test_a_mask_says_where(host: types.SimpleNamespace) -> None:
    mask = Image.new("L", (128, 96))
    mask.paste(255, (0, 0, 40, 96))
    base = plain(host, **FAITHFUL)
    result = pixels(run(host, job(mask=mask, mask_blur_x=2, mask_blur_y=2), **FAITHFUL).images[0])
    np.testing.assert_allclose(result[:, 110:], base[:, 110:], atol=1 / 255)
    assert np.abs(result[:, :60] - base[:, :60]).mean() > 0.02
    assert len(host.shared.processed) == 4  # of six tiles those under the mask
    assert host.shared.state.job_no == host.shared.state.job_count
    inverted = pixels(run(host, job(mask=mask, inpainting_mask_invert=1), **FAITHFUL).images[0])
    np.testing.assert_allclose(inverted[:, :50], base[:, :50], atol=1 / 255)


def test_alpha_odd_sizes_and_several_pictures(host: types.SimpleNamespace) -> None:
    image = photo((91, 67)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    result = run(host, job(image, photo()), width=300, scale=None)
    assert [image.size for image in result.images] == [(300, 221), (300, 225)]
    assert [image.mode for image in result.images] == ["RGBA", "RGB"]
    alpha = np.asarray(result.images[0].getchannel("A"), np.int32)
    assert alpha[5].mean() < 20
    assert alpha[-5].mean() > 235


def test_memory_that_runs_out_halves_the_batch(host: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def tight(p: Any) -> Any:
        if len(p.init_images) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return webui.process_images(p)

    expected = run(host).images[0]
    monkeypatch.setattr(host.processing, "process_images", tight)
    result = run(host, job(batch_size=4))
    assert result.images[0].tobytes() == expected.tobytes()
    assert "did not fit into memory; continuing with 1" in result.comments


@pytest.mark.parametrize("checked", [False, True])
def test_a_broken_tile_is_not_black(
    host: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """The host raises an error for NaN, or, told not to check, draws it black."""

    def breaking(p: Any) -> Any:
        processed = webui.process_images(p)
        if p.boxes[0].left == 0:
            if checked:
                raise webui.NansException("A tensor with NaNs was produced in Unet.")
            processed.images = [Image.new("RGB", image.size) for image in processed.images]
        return processed

    base = plain(host, **FAITHFUL)
    monkeypatch.setattr(host.processing, "process_images", breaking)
    result = run(host, **FAITHFUL)
    np.testing.assert_allclose(pixels(result.images[0])[:, :64], base[:, :64], atol=1 / 255)
    assert np.abs(pixels(result.images[0])[:, 130:] - base[:, 130:]).mean() > 0.02
    assert result.comments.count("NaN") == 2


def test_results_are_saved_as_the_host_is_set(host: types.SimpleNamespace) -> None:
    result = run(host)
    ((image, seed, prompt, extension, info),) = host.shared.saved
    assert (seed, prompt, extension, info) == (5, "a hill", "png", result.infotexts[0])
    assert image.tobytes() == result.images[0].tobytes()
    host.shared.saved.clear()
    run(host, job(do_not_save_samples=True))
    assert host.shared.saved == []


def test_another_script_that_changes_the_size_is_named(host: types.SimpleNamespace, monkeypatch: Any) -> None:
    def larger(p: Any) -> Any:
        processed = webui.process_images(p)
        processed.images = [image.resize((512, 512)) for image in processed.images]
        return processed

    monkeypatch.setattr(host.processing, "process_images", larger)
    with pytest.raises(Exception, match="104x112 px came back as 512x512; turn off"):
        run(host)


# -- the Extras tab


def test_extras(host: types.SimpleNamespace) -> None:
    entry = host.extras.Enlarge()
    widgets = built(entry.ui)
    assert list(widgets) == ["enable", *(option.name for option in host.form.extras_options())]
    image = webui.PostprocessedImage(photo((45, 30)))
    entry.process(image, **dict.fromkeys(widgets))  # what the host's API sends to entries that it does not know
    assert image.image.size == (45, 30)
    assert not image.info
    entry.process(image, enable=True, scale=3, gan="Double", consistency=None)
    assert image.image.size == (135, 90)
    assert image.info["Tiled scale"] == 3.0
    assert "Tiled tile" not in image.info
    small = pixels(image.image.resize((45, 30), Image.Resampling.BOX))
    assert np.abs(small - pixels(photo((45, 30)))).mean() < 0.01
    host.shared.state.interrupted = True
    entry.process(image, enable=True, gan="Double")
    assert image.image.size == (135, 90)


# -- what lies in the extension's folder itself

ROOT = webui.ROOT / "ui" / "upscaler_ui" / "webui" / "root"


def test_the_host_finds_one_class_in_each_script(host: types.SimpleNamespace) -> None:
    """It takes every class of a script's namespace that is one of its own, an imported base class too."""
    found = {path.name: runpy.run_path(str(path)) for path in (ROOT / "scripts").glob("*.py")}
    kinds = (webui.Script, webui.ScriptPostprocessing)
    classes = {
        name: [value for value in content.values() if isinstance(value, type) and issubclass(value, kinds)]
        for name, content in found.items()
    }
    assert classes == {
        "tiled_diffusion_upscale.py": [host.script.Script],
        "tiled_diffusion_upscale_extras.py": [host.extras.Enlarge],
    }
    assert not any(webui.PACK in path for path in sys.path)


def test_only_what_is_missing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[str] = []
    launch = types.ModuleType("launch")
    launch.is_installed = lambda name: name != "pywavelets"  # type: ignore[attr-defined]
    launch.run_pip = lambda command, desc=None: commands.append(command)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "launch", launch)
    for name, source in (("install.py", ROOT), ("requirements.txt", webui.ROOT)):
        (tmp_path / name).write_text((source / name).read_text("utf-8"), "utf-8")
    runpy.run_path(str(tmp_path / "install.py"))
    assert commands == ["install pywavelets"]
    launch.is_installed = lambda name: False  # type: ignore[attr-defined]
    runpy.run_path(str(tmp_path / "install.py"))
    assert not any(name in command for command in commands for name in ("torch", "numpy", "pillow", "gradio"))


def test_the_readme_s_request_has_the_right_arguments(host: types.SimpleNamespace) -> None:
    (request,) = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    values = host.form.read(host.form.script_options(), json.loads(request)["script_args"], host.instance.networks)
    assert (values["scale"], values["gan"], values["seams"]) == (2.0, "realesrgan-x4plus", "auto")
