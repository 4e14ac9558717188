"""The real ComfyUI, started for these tests: `COMFYUI_DIR=path/to/ComfyUI make test-comfyui`.

`COMFYUI_PYTHON` is the interpreter that has its requirements and ours; default is the one that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from upscaler_ui.install import install

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def program() -> Path:
    folder = os.environ.get("COMFYUI_DIR")
    if not folder:
        pytest.skip("COMFYUI_DIR is not set: no ComfyUI to test against")
    return Path(folder)


@pytest.fixture(scope="session")
def python() -> str:
    return os.environ.get("COMFYUI_PYTHON", sys.executable)


@pytest.fixture(scope="session")
def models(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from checkpoint import make_models

    folder = tmp_path_factory.mktemp("models")
    make_models(folder, program)
    return folder


@pytest.fixture(scope="session")
def base(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(models, tmp_path_factory.mktemp("base"))


def make_base(models: Path, folder: Path) -> Path:
    """A folder for the host's data, with the pictures that workflows load."""
    import PIL.Image

    for name in ("custom_nodes", "input", "output", "user"):
        (folder / name).mkdir()
    (folder / "models").symlink_to(models)
    with PIL.Image.open(ROOT / "examples" / "photo.png") as photo:
        photo = photo.convert("RGB")
        photo.save(folder / "input" / "photo512.png")
        photo.crop((200, 200, 328, 328)).save(folder / "input" / "photo128.png")
        photo.crop((300, 200, 371, 257)).save(folder / "input" / "odd.png")
        round_ = PIL.Image.radial_gradient("L").resize((64, 48))
        faded = photo.crop((200, 200, 264, 248))
        faded.putalpha(round_)
        faded.save(folder / "input" / "alpha.png")
    return folder


@pytest.fixture(scope="session")
def host(program: Path, python: str, base: Path) -> Iterator[object]:
    from host import Host

    install("comfyui", base)
    server = Host(program, python, base)
    yield server
    server.close()


@pytest.fixture
def clone(program: Path, python: str, models: Path, tmp_path: Path) -> Iterator[object]:
    from host import Host

    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout")
    base = make_base(models, tmp_path)
    subprocess.run(["git", "clone", "--quiet", ROOT, base / "custom_nodes" / "upscaler"], check=True)
    server = Host(program, python, base)
    yield server
    server.close()
