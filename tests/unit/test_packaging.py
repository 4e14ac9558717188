"""What the installers bring along fits the tree that they are made from."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYTHON = {**default_environment(), "python_version": "3.11", "python_full_version": "3.11.0"}  # the lock's oldest


def required(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by their names, those that the lock is for."""
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(item.name): item for item in found if not item.marker or item.marker.evaluate(PYTHON)}


def locked() -> dict[str, str]:
    text = (ROOT / "packaging" / "lock.txt").read_text("utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text)}


def test_the_lock_has_all_that_the_installed_program_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = required([*project["dependencies"], *project["optional-dependencies"]["desktop"]])
    found = locked()
    missing = [name for name in wanted if name not in found]
    assert not missing, "make it again: python packaging/make_resources.py FOLDER --lock"
    assert [name for name, item in wanted.items() if not item.specifier.contains(found[name])] == []


def test_the_lock_has_the_versions_that_the_tests_passed_with() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = required([line for line in lines if line and not line.startswith("#")])
    found = locked()
    shared = pinned.keys() & found.keys()
    assert shared
    assert [name for name in sorted(shared) if not pinned[name].specifier.contains(found[name])] == []
