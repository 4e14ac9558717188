"""The examples in the docstrings of the pure modules give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "geometry",
    "text",
    "arrays.quantise",
    "arrays.resample",
    "arrays.strips",
    "arrays.ycc",
    "tiling.grid",
    "tiling.noise",
    "tiling.spans",
    "tiling.window",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"upscaler.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
