"""Rewritten dense blocks are the network's own, in less work; checked on networks with random weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from upscaler.models.gan.architectures import ESRGAN, Compact  # noqa: E402
from upscaler.models.gan.winograd import Body, rewrite  # noqa: E402
from upscaler.models.layers import layers_with_weights  # noqa: E402


def network(**options: Any) -> Any:
    torch.manual_seed(0)
    model = ESRGAN(**{"channels": 3, "width": 64, "growth": 32, "blocks": 2, "doublings": 1, **options})
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "options", [{}, {"width": 32}, {"blocks": 1, "channels": 4}, {"growth": 16, "doublings": 2}], ids=str
)
@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (16, 24), (17, 5)], ids=str)
def test_it_is_the_same_network(options: dict[str, Any], size: tuple[int, int]) -> None:
    model = network(**options)
    picture = torch.rand(1, options.get("channels", 3), *size)
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
    model = network(blocks=4)
    picture = torch.rand(1, 3, 48, 48)
    expected = model(picture)
    usual, rewritten = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
    rewrite(rewritten)
    rewritten.bfloat16()
    errors = [(net(picture.bfloat16()).float() - expected).abs().mean() for net in (usual, rewritten)]
    assert 0 < errors[1] < 1.1 * errors[0]


def test_it_saves_a_third_of_the_multiplications() -> None:
    model = network()
    weights = sum(layer.weight.numel() for layer in layers_with_weights(model.body))
    rewrite(model)
    body = model.body
    assert isinstance(body, Body)
    # each weight is used once for each pair of rows here, and once for each row there
    assert sum(layer.weight.numel() for layer in layers_with_weights(body)) / (2 * weights) == pytest.approx(2 / 3)


def test_other_networks_are_left_alone() -> None:
    for model in (network(growth=24), Compact(3, 8, 2, 2)):  # growth that the width is no multiple of
        picture = torch.rand(1, 3, 8, 8)
        with torch.no_grad():
            expected = model(picture)
            assert not rewrite(model)
            assert torch.equal(model(picture), expected)


def test_its_layers_can_be_watched() -> None:
    model = network(blocks=1)
    before = len(layers_with_weights(model))
    rewrite(model)
    # the last layer of each dense block is in two parts, and three layers of the network have weights of their own kind
    assert len(layers_with_weights(model)) == before + 3 - 3
