"""Two pictures that no camera took, to try the presets on: an eye in the manner of comics, and a painted landscape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]

_FINE = 8  # pixels drawn for each pixel of the result


def eye(side: int = 128) -> Image.Image:
    """An eye under strands of hair: inked lines of varying width, flat colours, hard highlights."""
    size = side * _FINE
    image = Image.new("RGB", (size, size), "#fbe3d3")
    pen = ImageDraw.Draw(image)

    def place(points: Sequence[Point]) -> list[Point]:
        return [(x * size, y * size) for x, y in points]

    def fill(points: Sequence[Point], colour: str) -> None:
        pen.polygon(place(points), fill=colour)

    def disc(x: float, y: float, width: float, height: float, colour: str) -> None:
        pen.ellipse([*place([(x - width, y - height)])[0], *place([(x + width, y + height)])[0]], fill=colour)

    def ink(points: Sequence[Point], width: float, colour: str = "#2a1b2e") -> None:
        """A line that swells to `width` in its middle."""
        curve = _curve(points, 400)
        for index, (x, y) in enumerate(curve):
            radius = width / 2 * math.sin(math.pi * (0.06 + 0.88 * index / len(curve)))
            disc(x, y, radius, radius, colour)

    fill(_curve([(0.0, 1.0), (0.16, 0.86), (0.52, 0.93), (0.86, 0.86), (1.0, 1.0)], 40), "#f9d3c5")
    white = _curve([(0.15, 0.58), (0.28, 0.40), (0.52, 0.33), (0.74, 0.40), (0.86, 0.56)], 60)
    lower = _curve([(0.86, 0.56), (0.74, 0.74), (0.50, 0.80), (0.28, 0.74), (0.15, 0.58)], 60)
    fill([*white, *lower], "#fffdfa")
    disc(0.51, 0.57, 0.185, 0.225, "#1d2f66")
    disc(0.51, 0.58, 0.165, 0.205, "#2f66c4")
    disc(0.51, 0.65, 0.135, 0.130, "#58a6ee")
    disc(0.51, 0.71, 0.090, 0.065, "#a6e3fb")
    disc(0.51, 0.56, 0.070, 0.095, "#14173a")
    for turn in range(-4, 5):
        angle = math.pi / 2 + turn * 0.26
        start = (0.51 + 0.09 * math.cos(angle), 0.60 + 0.10 * math.sin(angle))
        ink([start, (0.51 + 0.155 * math.cos(angle), 0.58 + 0.19 * math.sin(angle))], 0.010, "#1f4690")
    fill([*white, *_curve([(0.86, 0.56), (0.74, 0.47), (0.52, 0.41), (0.28, 0.47), (0.15, 0.58)], 40)], "#d9cfe2")
    disc(0.51, 0.44, 0.150, 0.055, "#1d2f66")
    disc(0.42, 0.48, 0.055, 0.065, "#ffffff")
    disc(0.60, 0.69, 0.026, 0.030, "#ffffff")
    ink([(0.11, 0.62), (0.26, 0.40), (0.52, 0.32), (0.76, 0.40), (0.90, 0.60)], 0.060)
    ink([(0.78, 0.42), (0.89, 0.46), (0.97, 0.42)], 0.030)
    ink([(0.83, 0.49), (0.92, 0.54), (0.99, 0.53)], 0.024)
    ink([(0.30, 0.77), (0.50, 0.82), (0.74, 0.76)], 0.016)
    ink([(0.20, 0.33), (0.50, 0.235), (0.82, 0.32)], 0.012, "#8a5a58")
    ink([(0.16, 0.21), (0.48, 0.115), (0.88, 0.21)], 0.045, "#5b2f2a")
    for x, drop, lean in (
        (0.02, 0.78, 0.10),
        (0.20, 0.40, 0.10),
        (0.44, 0.30, 0.06),
        (0.66, 0.44, -0.02),
        (0.86, 0.92, -0.03),
    ):
        left = _curve([(x - 0.10, -0.02), (x + lean * 0.2 - 0.03, drop * 0.55), (x + lean, drop)], 40)
        right = _curve([(x + lean, drop), (x + lean * 0.6 + 0.09, drop * 0.5), (x + 0.13, -0.02)], 40)
        fill([*left, *right], "#b4543a")
        shade = _curve([(x + lean, drop), (x + lean * 0.5 + 0.055, drop * 0.5), (x + 0.06, -0.02)], 40)
        fill([*right[::-1], *shade], "#8d3a30")
        ink(left, 0.014)
        ink(right, 0.014)
    return image.resize((side, side), Image.Resampling.BOX)


def painting(photograph: Image.Image, side: int = 256) -> Image.Image:
    """The photograph painted over with a round brush, large strokes first, each along the edges around it."""
    fine = photograph.resize((side * 4, side * 4), Image.Resampling.LANCZOS)
    canvas = fine.filter(ImageFilter.GaussianBlur(40))
    random = np.random.default_rng(4)
    for brush in (36, 18, 9):
        soft = fine.filter(ImageFilter.GaussianBlur(brush * 0.6))
        colours = np.asarray(soft, np.float32)
        painted = np.asarray(canvas.filter(ImageFilter.GaussianBlur(brush * 0.6)), np.float32)
        wrong = np.abs(colours - painted).sum(axis=2)
        angles = _along_edges(soft, brush)
        pen = ImageDraw.Draw(canvas)
        places = [(x, y) for y in range(0, side * 4, brush) for x in range(0, side * 4, brush)]
        for index in random.permutation(len(places)):
            x, y = np.clip(np.array(places[index]) + random.integers(-brush, brush + 1, 2), 0, side * 4 - 1)
            if brush < 36 and wrong[y, x] < 22:
                continue
            angle = angles[y, x] + random.normal(0, 0.15)
            reach = brush * random.uniform(1.0, 2.2)
            dx, dy = math.cos(angle) * reach, math.sin(angle) * reach
            light = random.normal(0, 7)
            colour = tuple(
                int(value) for value in np.clip(colours[y, x] * 1.04 + light + random.normal(0, 3, 3), 0, 255)
            )
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=colour, width=brush)
            for end in (-1, 1):
                centre = (x + end * dx, y + end * dy)
                pen.ellipse([*(c - brush / 2 for c in centre), *(c + brush / 2 for c in centre)], fill=colour)
    return canvas.resize((side, side), Image.Resampling.BOX)


def _along_edges(image: Image.Image, radius: int) -> np.ndarray:
    """Direction of the edges around each pixel, in radians: across the first axis of the smoothed structure tensor."""
    grey = np.asarray(image.convert("L"), np.float32) / 255
    dy, dx = np.gradient(grey)
    parts = (dx * dx - dy * dy, 2 * dx * dy)
    coarse = image.width // radius, image.height // radius
    even, odd = (
        np.asarray(
            Image.fromarray(np.asarray(part, np.float32))
            .resize(coarse, Image.Resampling.BOX)
            .resize(image.size, Image.Resampling.BILINEAR)
        )
        for part in parts
    )
    return np.arctan2(odd, even) / 2 + math.pi / 2


def _curve(points: Sequence[Point], count: int) -> list[Point]:
    """Points of a Catmull-Rom spline through all of `points`."""
    ends = [points[0], *points, points[-1]]
    found: list[Point] = []
    for index in range(count + 1):
        place = min(index / count * (len(points) - 1), len(points) - 1 - 1e-9)
        i, t = int(place), place - int(place)
        a, b, c, d = (np.array(point) for point in ends[i : i + 4])
        x, y = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        found.append((float(x), float(y)))
    return found
