"""The host's tensors and the engine's arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....upscaler.arrays.resample import resample
from ....upscaler.geometry import Box, Size
from ....upscaler.pictures.picture import Picture

Array = NDArray[np.float32]

_HAIR = np.float32(2**-22)


def to_picture(image: torch.Tensor) -> Picture:
    """The picture in an image of a batch, (H, W, 1 to 4)."""
    return Picture.from_array(image.float().cpu().numpy())


def to_tensor(picture: Picture, *, alpha: bool) -> torch.Tensor:
    """(H, W, 3) or, with `alpha`, (H, W, 4).

    The engine's pixels lie on a grid of 2^-22, and the host saves by cutting off what is below a level of 8 bits: what
    was a level when it came in must not be a hair below it.
    """
    pixels = torch.from_numpy(np.minimum(picture.pixels + _HAIR, 1))
    if not alpha:
        return pixels
    opacity = torch.ones(pixels.shape[:2]) if picture.alpha is None else torch.from_numpy(picture.alpha)
    return torch.cat([pixels, opacity[..., None]], dim=2)


def size_of(image: torch.Tensor) -> Size:
    """Size of the pictures in a batch."""
    return Size(image.shape[2], image.shape[1])


def batch_of(pictures: Sequence[Picture], image: torch.Tensor) -> torch.Tensor:
    """The pictures as a batch, with alpha where `image` has it."""
    return torch.stack([to_tensor(picture, alpha=image.shape[3] == 4) for picture in pictures])


def resized(picture: Picture, size: Size) -> Array:
    """The picture's pixels, resampled where it has another size."""
    if picture.size == size:
        return picture.pixels
    return np.clip(resample(picture.pixels, size), 0, 1)


def pairs(image: torch.Tensor, reference: torch.Tensor | None) -> Iterator[tuple[Picture, Array]]:
    """Each picture of a batch, and the pixels of its reference in the picture's size; without one, its own."""
    size = size_of(image)
    for index, sample in enumerate(image):
        picture = to_picture(sample)
        before = picture if reference is None else to_picture(sample_of(reference, index))
        yield picture, resized(before, size)


def preview(picture: Picture, side: int) -> NDArray[np.uint8]:
    """The picture with sides of at most `side` pixels or so, for a look while it is made."""
    return picture.preview(side)


def cut(layer: Array, box: Box, canvas: Size, size: Size, *, centred: bool = False) -> Array:
    """What lies under `box` of the canvas in a layer that covers all of it, (size.height, size.width, C), antialiased.

    Args:
        layer: (h, w, C) of any size.
        box: in canvas pixels.
        size: of the result, in whatever cells the caller works on.
        centred: the layer keeps its shape, and what is beyond the canvas's shape is left out on both sides.
    """
    height, width = layer.shape[:2]
    x, y = width / canvas.width, height / canvas.height  # pixels of the layer for one of the canvas
    if centred:
        x = y = min(x, y)
    left, top = (width - x * canvas.width) / 2 + box.left * x, (height - y * canvas.height) / 2 + box.top * y
    ratio = box.size.width * x / size.width, box.size.height * y / size.height
    columns = _around(left, ratio[0], size.width, width)
    rows = _around(top, ratio[1], size.height, height)
    part = np.ascontiguousarray(layer[rows, columns], np.float32)
    return resample(part, size, ratio=ratio, offset=(left - columns.start, top - rows.start))


def mask_under(mask: Array, box: Box, canvas: Size) -> Array:
    """(h, w, 1) in [0, 1] in the box's pixels, of a mask of any size over the canvas; faint values are exactly 0."""
    share = np.clip(cut(mask, box, canvas, box.size), 0, 1)
    return share * (share > 1e-3)


def _around(start: float, ratio: float, count: int, length: int) -> slice:
    """What a resampling of `count` samples from `start` on reads of an axis."""
    margin = 3 * max(ratio, 1.0) + 2
    return slice(
        min(max(math.floor(start - margin), 0), length - 1),
        max(min(math.ceil(start + count * ratio + margin), length), 1),
    )


def layer_of(tensor: torch.Tensor) -> Array:
    """(C, H, W) as (H, W, C)."""
    return tensor.detach().float().cpu().numpy().transpose(1, 2, 0)


def tensor_of(layer: Array) -> torch.Tensor:
    """(H, W, C) as (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(layer.transpose(2, 0, 1)))[None]


def sample_of(batch: Any, index: int) -> Any:
    """Sample `index` of a batch that may be shorter than the batch of pictures."""
    return batch[min(index, len(batch) - 1)]
