"""Finds faces with YuNet, which OpenCV runs. Wu, Peng, Yu 2023 (https://doi.org/10.1007/s11633-023-1423-y)."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from ... import weights
from ...arrays.quantise import quantise
from ...arrays.resample import resample
from ...arrays.strips import strips
from ...arrays.types import Image
from ...errors import SettingsError, UnsupportedModel
from ...geometry import Box, Size
from ...text import one_line
from ..base import Face

_SIDES = (2048, 640)  # longest sides at which it looks: small faces are found at the first, large ones at the second
_SURE = 0.7  # of 1, below which a face is none; of 0.7 to 0.9 some are seen from the side or half covered
_SAME = 0.3  # of two boxes' area that is in both, above which they are one face
_LEAST = 8  # pixels of a box's width
_INSTALL = 'install it with pip install "tiled-diffusion-upscaler[faces]"'


class YuNet:
    """A `FaceDetector`."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            SettingsError: OpenCV is not installed.
            UnsupportedModel: the file is not YuNet.
        """
        try:
            cv2: Any = import_module("cv2")
            create: Any = cv2.FaceDetectorYN.create
        except (ImportError, AttributeError):
            raise SettingsError(f"faces.strength: finding faces needs OpenCV 4.8 or later; {_INSTALL}") from None
        try:
            with _quiet(cv2):
                self._network: Any = create(path, "", (320, 320), _SURE, _SAME)
        except cv2.error as error:
            raise UnsupportedModel(f"{path}: is not YuNet in ONNX ({one_line(error)}); fetch it again") from None
        self._turns = threading.Lock()

    def __call__(self, image: Image) -> list[Face]:
        """The faces in `image`, (H, W, 3) float32 in [0, 1], from top to bottom."""
        whole, small, found = Size(image.shape[1], image.shape[0]), image, list[tuple[float, ...]]()
        for side in _SIDES:
            small = _reduced(small, whole.fit(side))
            found += self._rows(small, whole)
        kept: list[Face] = []
        for row in sorted(found, key=lambda row: -row[14]):
            face = _face(row, whole)
            if face.box.size.width >= _LEAST and all(_shared(face.box, other.box) < _SAME for other in kept):
                kept.append(face)
        return sorted(kept, key=lambda face: (face.box.top, face.box.left))

    def _rows(self, small: Image, whole: Size) -> Iterator[tuple[float, ...]]:
        """Left, top, width, height, five points and the certainty of each face in a copy, in pixels of the whole."""
        size = Size(small.shape[1], small.shape[0])
        with self._turns:
            self._network.setInputSize(tuple(size))
            _, rows = self._network.detect(np.ascontiguousarray(quantise(small, dither=False)[..., ::-1]))
        x, y = whole.width / size.width, whole.height / size.height
        scale = np.array([x, y] * 7 + [1.0])
        for row in () if rows is None else rows:
            values = np.asarray(row, np.float64) * scale
            if np.isfinite(values).all():
                yield tuple(values.tolist())


def _reduced(image: Image, size: Size) -> Image:
    """A copy of that size, made strip by strip, so that beside it there is little in memory."""
    if size == (image.shape[1], image.shape[0]):
        return image
    small = np.empty((size.height, size.width, 3), np.float32)
    for rows in strips(size.height, image.shape[0] * image.shape[1] // size.height):
        small[rows] = resample(image, size, kernel="lanczos", rows=rows)
    return small


@contextmanager
def _quiet(cv2: Any) -> Generator[None, None, None]:
    """Keep OpenCV from printing while the block runs; what is wrong is said by its error."""
    log = cv2.utils.logging
    before = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(before)


def _face(row: tuple[float, ...], size: Size) -> Face:
    left, top, width, height, *points = row[:14]
    box = Box.enclosing(max(left, 0), max(top, 0), left + width, top + height, within=size)
    return Face(box, tuple(zip(points[0::2], points[1::2])))


def _shared(one: Box, other: Box) -> float:
    """The part of two boxes' area that is in both, 0 to 1."""
    both = one.meet(other)
    if both is None:
        return 0.0
    area, first, second = (box.size.width * box.size.height for box in (both, one, other))
    return area / (first + second - area)


def load_detector() -> YuNet:
    """The detector. Raises: `WeightsNotFound`, and as `YuNet`."""
    return YuNet(str(weights.find(weights.DETECTOR, "detector")))
