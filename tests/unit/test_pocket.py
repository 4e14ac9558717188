"""The codec is orthonormal; the network is the identity before training, and blind to place and size."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("diffusers")

from upscaler.models.diffusion.haar import HaarCodec
from upscaler.models.diffusion.pocket import PocketUNet
from upscaler.models.diffusion.sampling import Sampler


def pixels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def small_network(**changes: object) -> PocketUNet:
    torch.manual_seed(0)
    options = {"block_out_channels": (16, 16), "detail_width": 8, **changes}
    return PocketUNet(**options).eval().requires_grad_(False)


def trained_network() -> PocketUNet:
    """With random weights where training begins from zeros."""
    network = small_network()
    generator = torch.Generator().manual_seed(1)
    for weights in network.parameters():
        weights.normal_(0, 0.05, generator=generator)
    return network


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_codec_gives_the_pixels_back(levels: int) -> None:
    codec, image = HaarCodec(levels), pixels(48, 32)
    latents = codec.encode(image)
    assert latents.shape == (2, codec.latent_channels, 48 // codec.factor, 32 // codec.factor)
    assert torch.allclose(codec.decode(latents), image, atol=1e-5)


def test_codec_keeps_distances() -> None:
    codec = HaarCodec()
    assert torch.allclose(codec.matrix @ codec.matrix.T, torch.eye(192), atol=1e-5)


def test_first_latent_is_the_mean_and_bands_rise_in_frequency() -> None:
    codec = HaarCodec()
    flat = codec.encode(torch.full((1, 3, 8, 8), 0.5))
    assert math.isclose(flat[0, 0, 0, 0].item(), 0.5 * 8 * 3**0.5, rel_tol=1e-5)
    assert flat[0, 1:].abs().max() < 1e-5
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 3, 8, 8)
    assert (
        codec.encode(stripes)[0, :, 0, 0].abs().argmax() == 7
    )  # the last of the first row of 8 x 8 bands of brightness


def test_codec_is_described_by_its_folder(tmp_path) -> None:
    HaarCodec(2).save_pretrained(tmp_path / "vae")
    assert HaarCodec.from_pretrained(tmp_path / "vae").factor == 4


def test_untrained_network_changes_nothing() -> None:
    base, sample = torch.randn(2, 192, 5, 3), torch.randn(2, 192, 5, 3)
    assert torch.equal(small_network()(sample, torch.tensor(100), base), base)


def test_rich_detail_grows_with_strength_above_the_full_one() -> None:
    network = trained_network()
    base, sample = torch.randn(2, 1, 192, 6, 4)
    results = [network(sample, torch.tensor(100), base, strength) for strength in (0, 0.29, 0.5, 1)]
    assert torch.equal(results[0], results[1])
    grown = [(result - results[0])[:, :64].square().mean().sqrt().item() for result in results[2:]]
    assert math.isclose(grown[1], grown[0] * 0.71 / 0.21, rel_tol=1e-2)


def test_detail_is_of_brightness_alone() -> None:
    network = trained_network()
    base, sample = torch.randn(2, 1, 192, 6, 4)
    mean, *_ = network.estimate(sample, torch.tensor(100), base)
    result = network(sample, torch.tensor(100), base, 1.0)
    assert torch.equal(result[:, 64:], mean[:, 64:])
    assert not torch.equal(result[:, :64], mean[:, :64])


def test_network_without_detail_gives_its_estimate() -> None:
    network = small_network(detail_width=0)
    network.conv_out.weight.normal_(0, 0.05)
    base, sample = torch.randn(2, 1, 192, 6, 4)
    assert torch.equal(network(sample, torch.tensor(9), base, 1.0), network.estimate(sample, torch.tensor(9), base)[0])


def test_result_is_float32_in_any_precision() -> None:
    network = trained_network()
    base = torch.randn(1, 192, 6, 4)
    exact = network(base, torch.tensor(200), base)
    rounded = network.to(torch.bfloat16)(base, torch.tensor(200), base)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.05 * (exact - base).abs().mean()


def test_a_cell_depends_on_its_neighbourhood_only() -> None:
    """Moving the content moves the result: tiles agree where they overlap."""
    network = trained_network()
    sample, base = torch.randn(2, 1, 192, 30, 30, generator=torch.Generator().manual_seed(2))
    whole = network(sample, torch.tensor(250), base)
    part = network(sample[..., 5:27, 4:28], torch.tensor(250), base[..., 5:27, 4:28])
    inner = (
        8  # six convolutions of the first stack: two in each of two blocks, one before, one after; two cells of detail
    )
    assert torch.allclose(
        part[..., inner:-inner, inner:-inner], whole[..., 5 + inner : 27 - inner, 4 + inner : 28 - inner], atol=1e-4
    )


def test_batch_does_not_matter() -> None:
    network = trained_network()
    sample, base = torch.randn(2, 3, 192, 4, 4, generator=torch.Generator().manual_seed(3))
    together = network(sample, torch.tensor(250), base)
    assert torch.allclose(together[1:2], network(sample[1:2], torch.tensor(250), base[1:2]), atol=1e-4)


def test_network_survives_saving(tmp_path) -> None:
    network = trained_network()
    network.half().save_pretrained(tmp_path / "unet")
    loaded = PocketUNet.from_pretrained(tmp_path / "unet").to(torch.float32)
    base = torch.randn(1, 192, 4, 4)
    assert torch.equal(loaded(base, torch.tensor(10), base), network.float()(base, torch.tensor(10), base))


def test_noise_of_the_network_is_that_of_the_schedule() -> None:
    """The network derives the noise level from the timestep; the scheduler from its betas."""
    schedule = {
        "num_train_timesteps": 1000,
        "beta_schedule": "linear",
        "beta_start": 1e-7,
        "beta_end": 3.2e-4,
        "prediction_type": "sample",
    }
    sampler = Sampler("ddim", schedule, strength=0.6, steps=10, device=torch.device("cpu"))
    sigma = sampler._scheduler.sigmas[:-1]
    assert torch.allclose(sigma, 0.4 * (sampler.timesteps + 1) / 1000, rtol=0.02)
