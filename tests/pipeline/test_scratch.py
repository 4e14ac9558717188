"""Pictures that would not fit comfortably into memory are kept on disk: with the same bytes, and nothing left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import upscaler
from tests import killed
from upscaler import scratch
from upscaler.errors import OutOfMemory
from upscaler.testing import NearestUpscaler, NoiseRefiner


class Usage(NamedTuple):
    free: int


def enlarged(picture: np.ndarray | Path, **options: Any) -> upscaler.Picture:
    models = {"upscaler": NearestUpscaler(), "refiner": NoiseRefiner()}
    return upscaler.upscale(picture, **models, **{**killed.OPTIONS, **options})


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("seams", ["none", "half-tile"])
def test_a_run_on_disk_has_the_bytes_of_one_in_memory(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, seams: str
) -> None:
    picture = rng.random((90, 110, channels)).astype(np.float32)
    expected = enlarged(picture, seams=seams)
    monkeypatch.setattr(scratch, "free_memory", lambda: 1 << 20)
    stored = enlarged(picture, seams=seams, scratch=tmp_path)
    assert type(stored.pixels.base).__name__ == "memmap"  # it was there
    np.testing.assert_array_equal(stored.pixels, expected.pixels)
    if expected.alpha is not None:
        assert stored.alpha is not None
        np.testing.assert_array_equal(stored.alpha, expected.alpha)
    assert list(tmp_path.iterdir()) == []


def test_what_fits_nowhere_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "free_memory", lambda: 1 << 20)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: Usage(1 << 20))
    with pytest.raises(OutOfMemory, match=r"^a result of 440x360 needs .* --scratch$"):
        enlarged(np.zeros((90, 110, 3), np.float32), scratch=tmp_path)
    path = tmp_path / "a.png"
    upscaler.save(upscaler.Picture(np.zeros((90, 110, 3), np.float32)), path)
    with pytest.raises(OutOfMemory, match=r"^a result of 440x360 needs .* --scratch$"):  # before it is decoded
        enlarged(path, scratch=tmp_path)


def test_a_file_is_read_onto_the_disk_where_its_result_will_be(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    upscaler.save(upscaler.Picture(rng.random((90, 110, 3)).astype(np.float32)), path)
    expected = enlarged(path).pixels
    monkeypatch.setattr(scratch, "free_memory", lambda: 1 << 20)
    decoded: list[object] = []
    monkeypatch.setattr("upscaler.pictures.files.decode", lambda *args, **rest: decoded.append(args))
    np.testing.assert_array_equal(enlarged(path, scratch=tmp_path).pixels, expected)
    assert decoded == []
    assert list(tmp_path.iterdir()) == [path]
