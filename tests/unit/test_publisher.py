"""What the ComfyUI registry wants to know of a publisher is stated when it is published, and not before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def state(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "packaging" / "state_publisher.py"), *arguments, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tree_names_no_address_and_publishing_states_one(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    shutil.copyfile(ROOT / "pyproject.toml", path)
    before = read(path)
    assert "urls" not in before["project"]
    assert not {"PublisherId", "Icon"} & before["tool"]["comfy"].keys()
    assert state(path, "ann", "https://github.com/ann/upscaler").returncode == 0
    after = read(path)
    assert after["project"].pop("urls") == {"Repository": "https://github.com/ann/upscaler"}
    assert after["tool"]["comfy"].pop("PublisherId") == "ann"
    icon = after["tool"]["comfy"].pop("Icon")
    assert icon.startswith("https://raw.githubusercontent.com/ann/upscaler/HEAD/")
    assert (ROOT / icon.partition("/HEAD/")[2]).is_file()
    assert after == before


@pytest.mark.parametrize(
    ("publisher", "repository"), [("", "https://github.com/ann/upscaler"), ("ann", "https://example.org/ann/upscaler")]
)
def test_what_is_no_publisher_is_refused(tmp_path: Path, publisher: str, repository: str) -> None:
    path = tmp_path / "pyproject.toml"
    shutil.copyfile(ROOT / "pyproject.toml", path)
    done = state(path, publisher, repository)
    assert done.returncode != 0
    assert "give https://github.com" in done.stderr or "registry.comfy.org" in done.stderr
    assert path.read_bytes() == (ROOT / "pyproject.toml").read_bytes()
