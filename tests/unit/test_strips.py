"""An autoencoder in strips gives what it gives at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from diffusers import AutoencoderKL, AutoencoderTiny  # noqa: E402

from upscaler.arrays.store import Store  # noqa: E402
from upscaler.models.diffusion import autoencoder  # noqa: E402
from upscaler.models.diffusion.autoencoder import VaeCodec  # noqa: E402
from upscaler.models.diffusion.strips import FeatureMap, InStrips  # noqa: E402
from upscaler.models.layers import after_each  # noqa: E402


def make(kind: str, *, attention: bool = True) -> Any:
    torch.manual_seed(0)
    if kind == "tiny":
        vae: Any = AutoencoderTiny(encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4)
    else:
        vae = AutoencoderKL(
            block_out_channels=(32, 32, 64), norm_num_groups=8, layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            mid_block_add_attention=attention,
        )  # fmt: skip
    return vae.eval().requires_grad_(False)


@pytest.fixture(params=[4, 10, 1000], ids="{} rows a strip".format)
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    def some(self: FeatureMap) -> Any:
        height = self.values.shape[2]
        return (slice(top, min(top + request.param, height)) for top in range(0, height, request.param))

    monkeypatch.setattr(FeatureMap, "strips", some)
    return request.param


def picture(channels: int, height: int, width: int) -> Any:
    """Halves that are as unlike as sky and ground, in a batch of two."""
    torch.manual_seed(3)
    values = torch.randn(2, channels, height, width) * 0.3
    values[0, :, : height // 2] = values[0, :, : height // 2] * 0.1 + 0.9
    return values


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(("kind", "attention"), [("kl", True), ("kl", False), ("tiny", False)])
def test_it_is_the_same_in_strips(kind: str, attention: bool, on_disk: bool, rows: int, tmp_path: Path) -> None:
    vae = make(kind, attention=attention)
    assert InStrips.can(vae)
    image, latents = picture(3, 72, 56), picture(4, 18, 14)
    with torch.inference_mode():
        encoded, decoded = vae.encode(image), vae.decode(latents).sample
        expected = encoded.latents if kind == "tiny" else encoded.latent_dist.parameters
        strips = InStrips(vae, store=Store(tmp_path) if on_disk else None)
        torch.testing.assert_close(strips.encode(image), expected, atol=2e-5, rtol=0)
        torch.testing.assert_close(strips.decode(latents), decoded, atol=2e-5, rtol=0)


def test_maps_in_half_precision_can_lie_on_disk(tmp_path: Path) -> None:
    vae, latents = make("kl").bfloat16(), picture(4, 8, 6)
    with torch.inference_mode():
        expected = InStrips(vae).decode(latents)
        torch.testing.assert_close(InStrips(vae, store=Store(tmp_path)).decode(latents), expected, atol=0, rtol=0)


def test_the_variance_between_strips_counts(rows: int) -> None:
    """Two halves with means of 0 and 3 and a variance of 1 have a variance of 3.25 together, and not of 1."""
    values = torch.randn(1, 4, 40, 400)
    values[:, :, 20:] += 3
    norm = torch.nn.GroupNorm(2, 4, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    expected = torch.nn.functional.silu(norm(values))
    torch.testing.assert_close(FeatureMap.of(values).normalised(norm)(values), expected, atol=1e-5, rtol=0)


def test_statistics_do_not_overflow_in_half_precision() -> None:
    values = torch.full((1, 4, 64, 64), 3e4, dtype=torch.float16)
    values[:, :, ::2] = -3e4
    made = FeatureMap.of(values).normalised(torch.nn.GroupNorm(2, 4))(values)
    assert torch.isfinite(made).all()
    torch.testing.assert_close(made.float().abs().amax(), torch.tensor(1.0).sigmoid(), atol=1e-2, rtol=0)


def test_every_strip_of_a_layer_is_a_chance_to_stop(rows: int) -> None:
    vae, calls = make("kl"), []
    with after_each([vae.decoder.conv_out], lambda: calls.append(1)), torch.inference_mode():
        InStrips(vae).decode(picture(4, 8, 8))
    assert len(calls) == -(-32 // rows)


def test_other_kinds_of_layers_are_told_apart() -> None:
    vae = make("kl")
    vae.decoder.up_blocks[0].resnets[0].nonlinearity = torch.nn.ReLU()
    assert not InStrips.can(vae)


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_a_codec_goes_over_to_strips_where_the_whole_does_not_fit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = VaeCodec(make(kind))
    image, latents = picture(3, 64, 96).clamp(-1, 1), picture(4, 64 // vae.factor, 96 // vae.factor)
    made: list[str] = []
    for name in ("encode", "decode"):
        plain = getattr(InStrips, name)
        monkeypatch.setattr(InStrips, name, lambda self, x, name=name, plain=plain: made.append(name) or plain(self, x))
    results: list[Any] = []
    for free in (2**40, 2**20):
        monkeypatch.setattr(autoencoder, "free_memory", lambda device, limit=None, free=free: free)
        with torch.inference_mode():
            results.append((vae.encode(image), vae.decode(latents)))
    assert made == ["encode", "decode"]
    for whole, strips in zip(*results):
        torch.testing.assert_close(strips, whole, atol=1e-4, rtol=0)
