"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from upscaler.arrays.types import Image

hypothesis.settings.register_profile("upscaler", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("upscaler")

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, neither see nor change what the user has in the data and state folder."""
    folder = str(tmp_path_factory.mktemp("user"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):  # Linux and macOS, Windows
            patch.setenv(name, folder)
        yield


@pytest.fixture(scope="session")
def photograph() -> Image:
    """The bundled photograph, (512, 512, 3)."""
    from upscaler.pictures.files import load

    return load(EXAMPLES / "photo.png").pixels


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
