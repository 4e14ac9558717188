"""The journal of finished tiles: what is in it survives, what was half-written is cut off."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from upscaler.errors import ProgressError
from upscaler.tiling.journal import Journal
from upscaler.tiling.spans import Span
from upscaler.tiling.tiles import Tile

TILES = [Tile(row, column, Span(0, 8), Span(0, 8)) for row in range(2) for column in range(2)]


def corrections(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=(8, 5 + index, 3)).astype(np.float32) for index in range(len(TILES))]


def fill(path: Path, values: list[np.ndarray]) -> None:
    journal = Journal(path)
    journal.next_pass()
    for tile, value in zip(TILES, values):
        journal.add(tile, value)
    journal.sync()
    journal.close()


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path: Path, rng: np.random.Generator) -> None:
    values = corrections(rng)
    fill(tmp_path / "tiles", values)
    journal = Journal(tmp_path / "tiles")
    assert len(journal) == len(TILES)
    assert not journal.holds(TILES[0])  # before the first pass
    journal.next_pass()
    for tile, value in zip(TILES, values):
        assert journal.holds(tile)
        np.testing.assert_array_equal(journal.read(tile), value)
    journal.next_pass()
    assert not journal.holds(TILES[0])
    journal.close()


def test_a_file_cut_off_anywhere_gives_its_whole_records(tmp_path: Path, rng: np.random.Generator) -> None:
    values = corrections(rng)
    path = tmp_path / "tiles"
    fill(path, values)
    whole = path.read_bytes()
    ends = np.cumsum([32 + value.nbytes for value in values])
    for length in [
        0,
        1,
        31,
        32,
        *(int(end) + by for end in ends for by in (-1, 0, 1)),
        *rng.integers(0, len(whole), 50),
    ]:
        path.write_bytes(whole[:length])
        journal = Journal(path)
        assert len(journal) == int(np.searchsorted(ends, min(length, len(whole)), side="right"))
        journal.next_pass()
        if not journal.holds(TILES[0]):  # what follows a cut is written in its place
            journal.add(TILES[0], values[0])
            journal.close()
            journal = Journal(path)
            journal.next_pass()
        np.testing.assert_array_equal(journal.read(TILES[0]), values[0])
        journal.close()


def test_a_record_with_a_changed_byte_ends_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "tiles"
    fill(path, corrections(rng))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    journal = Journal(path)
    assert 0 < len(journal) < len(TILES)
    journal.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_in_one_line(rng: np.random.Generator) -> None:
    journal = Journal.__new__(Journal)
    journal._path, journal._file, journal._places, journal._end, journal._pass = (
        Path("x/tiles"),
        os.open("/dev/full", os.O_RDWR),
        {},
        0,
        0,
    )
    with pytest.raises(ProgressError, match=r"^x: the progress cannot be kept \(.*[Nn]o space"):
        journal.add(TILES[0], corrections(rng)[0])
    assert not journal.holds(TILES[0])
    journal.close()
