"""The canvas of a job while it grows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from PIL import Image as Pillow

from upscaler.events import Progress
from upscaler.geometry import Box, Size
from upscaler.pictures.picture import Picture

from .views import data_uri, reduced, reduced_box

LIVE_SIDE = 1024
"""Longest side of the canvas that is shown while it grows, in pixels."""


@dataclass
class LiveView:
    """A small copy of a growing canvas, brought up to date where the canvas changed.

    It is drawn to in the job's thread and looked at from others.
    """

    _image: Pillow.Image | None = None
    _target: Size = field(default_factory=lambda: Size(1, 1))
    _icc: bytes | None = None
    _original: str = ""
    _boxes: tuple[Box, ...] = ()
    _stage: object = None
    _changes: int = 0
    _encoded: tuple[int, str] = (-1, "")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, picture: Picture, target: Size) -> None:
        """Begin with the picture as it came, as large as its result will be shown."""
        size = target.fit(LIVE_SIDE)
        with self._lock:
            self._image = reduced(picture, LIVE_SIDE).convert("RGB").resize(size, Pillow.Resampling.BICUBIC)
            self._target, self._icc = target, picture.icc
            self._image.info["icc_profile"] = picture.icc
            self._original = data_uri(self._image)
            self._changes += 1

    def show(self, event: Progress) -> None:
        """Draw what the event says to be new."""
        if event.picture is None or self._image is None:
            return
        size, shown = event.picture.size, Size(*self._image.size)
        boxes = tuple(box.rescale(size, shown) for box in event.boxes)
        new = event.stage is not self._stage  # whatever happened between the stages may have changed all of it
        drawn: list[tuple[Box, Pillow.Image]] = []
        if new or event.step == 0:
            for box in (Box(0, 0, *shown),) if new or not boxes else boxes:
                drawn.append((box, reduced_box(event.picture, box.rescale(shown, size), box.size)))
        with self._lock:
            for box, image in drawn:
                self._image.paste(image, (box.left, box.top))
            self._changes += bool(drawn)
            self._stage = event.stage
            self._boxes = () if event.done == event.total else event.boxes

    @property
    def target(self) -> Size:
        """Size of the result, in pixels."""
        return self._target

    @property
    def original(self) -> str:
        """The picture as it came, at the size of the canvas, as a data URI."""
        return self._original

    @property
    def boxes(self) -> list[list[int]]:
        """Where the work is: left, top, right, bottom in pixels of the result."""
        with self._lock:
            return [list(box) for box in self._boxes]

    def uri(self) -> str:
        """The canvas as a data URI; the same text as long as nothing changed, empty before the start."""
        with self._lock:
            if self._image is None:
                return ""
            if self._encoded[0] != self._changes:
                self._image.info["icc_profile"] = self._icc
                self._encoded = self._changes, data_uri(self._image)
            return self._encoded[1]
