"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import numpy as np
import pytest

from upscaler.image import Image

hypothesis.settings.register_profile("upscaler", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("upscaler")

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session")
def photograph() -> Image:
    """The bundled photograph, (512, 512, 3)."""
    from upscaler.files import load

    return load(EXAMPLES / "photo.png").pixels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
