"""An autoencoder whose convolutions are in bfloat16 is near to float32, and nearer than all in bfloat16."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from diffusers import AutoencoderKL  # noqa: E402

from upscaler.models import load_refiner  # noqa: E402
from upscaler.models.device import convert  # noqa: E402
from upscaler.models.diffusion.mixed import mix  # noqa: E402
from upscaler.models.diffusion.strips import FeatureMap, InStrips  # noqa: E402
from upscaler.models.doubled import Doubled  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd  # noqa: E402


def make() -> Any:
    torch.manual_seed(0)
    vae: Any = AutoencoderKL(
        block_out_channels=(32, 64, 64), norm_num_groups=8, layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    return vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def both(vae: Any, image: Any, latents: Any) -> tuple[Any, Any]:
    with torch.inference_mode():
        return vae.encode(image).latent_dist.mode().float(), vae.decode(latents).sample.float()


IMAGE = torch.rand(1, 3, 48, 72, generator=torch.Generator().manual_seed(1)) * 2 - 1
LATENTS = torch.randn(1, 4, 12, 18, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (16, 12)], ids=str)
def test_a_convolution_of_a_doubled_map(size: tuple[int, int]) -> None:
    conv = torch.nn.Conv2d(5, 7, 3, padding=1).requires_grad_(False)
    maps = torch.randn(2, 5, *size)
    doubled = torch.nn.functional.interpolate(maps, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(Doubled(conv)(maps), conv(doubled), atol=1e-5, rtol=0)


def test_in_float32_it_is_the_same_autoencoder() -> None:
    vae = make()
    for mixed, plain in zip(both(mix(copy.deepcopy(vae), torch.float32), IMAGE, LATENTS), both(vae, IMAGE, LATENTS)):
        torch.testing.assert_close(mixed, plain, atol=1e-5, rtol=0)


def test_it_is_nearer_to_float32_than_all_in_half_precision() -> None:
    exact = make()
    half, mixed = copy.deepcopy(exact), mix(copy.deepcopy(exact), torch.bfloat16)
    convert(half, torch.bfloat16)
    expected = both(exact, IMAGE, LATENTS)
    usual = both(half, IMAGE.bfloat16(), LATENTS.bfloat16())
    for ours, theirs, right in zip(both(mixed, IMAGE, LATENTS), usual, expected):
        error, other = (float((made - right).abs().mean()) for made in (ours, theirs))
        assert 0 < error < 0.9 * other
        assert error / 2 < 1 / 255  # values lie in [-1, 1]


def test_it_runs_in_strips_too(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = mix(make(), torch.bfloat16)
    encoded, decoded = both(mixed, IMAGE, LATENTS)
    monkeypatch.setattr(
        FeatureMap,
        "strips",
        lambda self: (slice(top, min(top + 6, self.values.shape[2])) for top in range(0, self.values.shape[2], 6)),
    )
    with torch.inference_mode():
        strips = InStrips(mixed).encode(IMAGE)[:, :4], InStrips(mixed).decode(LATENTS)
    for made, whole in zip(strips, (encoded, decoded)):  # alike but for other roundings
        assert float((made - whole).abs().mean()) / 2 < 1 / 255


def test_in_half_precision_it_can_be_raised_to_float32() -> None:
    """As after an overflow."""
    exact = make()
    mixed = mix(copy.deepcopy(exact), torch.float16)
    convert(mixed, torch.float32)
    for raised, expected in zip(both(mixed, IMAGE, LATENTS), both(exact, IMAGE, LATENTS)):
        torch.testing.assert_close(raised, expected, atol=2e-2, rtol=0)


def test_a_model_in_bfloat16_on_the_processor_has_it(tmp_path: Path) -> None:
    refiner: Any = load_refiner(str(make_sd(tmp_path / "sd")), device="cpu", precision="bfloat16")
    vae = refiner._parts.codec.network
    assert vae.decoder.up_blocks[-1].resnets[0].conv1.weight.dtype == torch.bfloat16
    assert vae.decoder.up_blocks[0].resnets[0].conv1.weight.dtype == torch.float32
    assert vae.decoder.conv_out.weight.dtype == vae.decoder.mid_block.attentions[0].to_q.weight.dtype == torch.float32
    assert refiner._parts.codec.decode(torch.zeros(1, 4, 8, 8)).dtype == torch.float32
