"""Rewritten dense blocks are the network's own, in less work; checked on networks with random weights."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spandrel")

from upscaler.models.gan.winograd import Body, rewrite  # noqa: E402
from upscaler.models.layers import layers_with_weights  # noqa: E402


def network(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spandrel.architectures.ESRGAN import ESRGAN
    torch.manual_seed(0)
    model = ESRGAN(**{"num_filters": 64, "num_blocks": 2, "scale": 2, **options})
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("options", [{}, {"num_filters": 32}, {"num_blocks": 1, "in_nc": 4, "out_nc": 4}], ids=str)
@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (16, 24), (17, 5)], ids=str)
def test_it_is_the_same_network(options: dict[str, Any], size: tuple[int, int]) -> None:
    model = network(**options)
    picture = torch.rand(1, options.get("in_nc", 3), *size)
    expected = model(picture)
    assert rewrite(model)
    torch.testing.assert_close(model(picture), expected, atol=2e-5, rtol=0)


def test_a_batch_is_its_pictures() -> None:
    model = network()
    rewrite(model)
    pictures = torch.rand(3, 3, 9, 12)
    alone = torch.cat([model(picture[None]) for picture in pictures])
    torch.testing.assert_close(model(pictures), alone, atol=1e-5, rtol=0)


def test_in_bfloat16_it_is_no_further_from_float32_than_the_usual_way() -> None:
    model = network(num_blocks=4)
    picture = torch.rand(1, 3, 48, 48)
    expected = model(picture)
    usual, rewritten = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
    rewrite(rewritten)
    rewritten.bfloat16()
    errors = [(net(picture.bfloat16()).float() - expected).abs().mean() for net in (usual, rewritten)]
    assert 0 < errors[1] < 1.1 * errors[0]


def test_it_saves_a_third_of_the_multiplications() -> None:
    model = network()
    weights = sum(layer.weight.numel() for layer in layers_with_weights(model.model[1].sub[0]))
    rewrite(model)
    body = model.model[1].sub[0]
    assert isinstance(body, Body)
    # each weight is used once for each pair of rows here, and once for each row there
    assert sum(layer.weight.numel() for layer in layers_with_weights(body)) / 2 / (2 * weights) == pytest.approx(2 / 3)


@pytest.mark.parametrize("options", [{"plus": True}, {"norm": "batch"}, {"act": "relu"}], ids=str)
def test_blocks_of_another_kind_are_left_alone(options: dict[str, Any]) -> None:
    model = network(**options)
    picture = torch.rand(1, 3, 8, 8)
    expected = model(picture)
    assert not rewrite(model)
    assert torch.equal(model(picture), expected)


def test_other_networks_are_left_alone() -> None:
    assert not rewrite(torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 3, 3)))


def test_its_layers_can_be_watched() -> None:
    model = network(num_blocks=1)
    before = len(layers_with_weights(model))
    rewrite(model)
    assert len(layers_with_weights(model)) == before + 3, "the last layer of each dense block is in two parts"
