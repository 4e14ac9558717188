"""Who may import whom, and what the public surface is; in fresh interpreters, so that nothing is loaded already."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import upscaler

PACKAGE = Path(upscaler.__file__).parent
UI = PACKAGE.parent / "ui"
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "spandrel", "safetensors", "accelerate"}
PURE = {"geometry", "settings", "options", "events", "errors"}
IMAGE = {
    "image",
    "blend",
    "wavelet",
    "resample",
    "consistency",
    "seams",
    "noise",
    "strips",
    "planes",
    "jpeg",
    "enlarge",
    "refine",
    "pipeline",
    "planning",
}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return {name.split(".")[0] for name in done.stdout.split()}


def imports_of(path: Path) -> list[tuple[str, int, bool]]:
    """(module, level, at the top and outside of TYPE_CHECKING) of every import in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    top = {id(node) for node in tree.body}
    found: list[tuple[str, int, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, id(node) in top))
    return found


def test_importing_the_package_loads_no_network_library() -> None:
    assert not loaded_by("import upscaler") & (HEAVY | {"gradio", "rich", "tifffile", "ui"})


def test_the_fakes_need_no_network_library() -> None:
    assert not loaded_by("import upscaler.testing") & HEAVY


def test_help_needs_no_network_library() -> None:
    assert not loaded_by("import upscaler.cli.parser; upscaler.cli.parser.make_parser()") & HEAVY


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path: Path) -> None:
    inside_models = path.parent.name == "models"
    for module, level, at_top in imports_of(path):
        root = module.split(".")[0]
        assert root not in ("upscaler", "ui", "gradio"), (
            f"{path.name} imports {module}: inside the package imports are relative"
        )
        if level:
            continue
        if path.stem in PURE and not inside_models:
            assert root in sys.stdlib_module_names, f"{path.name} imports {module}: standard library only"
        if path.stem in IMAGE and not inside_models:
            allowed = {"numpy", "PIL", "pywt"}
            assert root in sys.stdlib_module_names or root in allowed, (
                f"{path.name} imports {module}: numpy, Pillow, PyWavelets only"
            )
        if root in HEAVY and not inside_models:
            assert not at_top, f"{path.name} imports {module} when it is imported"


def test_the_commands_of_the_front_ends_load_no_front_end() -> None:
    assert not loaded_by("import ui.commands") & (HEAVY | {"gradio", "webview", "comfy"})


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: str(path.relative_to(UI)))
def test_front_ends(path: Path) -> None:
    folder = path.relative_to(UI).parts[0]
    for module, level, at_top in imports_of(path):
        root = module.split(".")[0]
        if level == 0 and root in HEAVY:
            assert folder in ("comfyui", "webui"), f"{path} imports {module}: networks are the engine's or a host's"
        if folder in ("comfyui", "webui") and "root" not in path.parts:
            assert root not in ("upscaler", "ui") or level, (
                f"{path} imports {module}: a pack finds the engine beside it"
            )
        if path.name == "controls.py" and root == "upscaler":
            assert not at_top, "a pack carries this file beside an engine of another name"


def test_the_public_surface_is_sorted_and_complete() -> None:
    assert upscaler.__all__ == sorted(upscaler.__all__)
    assert all(hasattr(upscaler, name) for name in upscaler.__all__)
    public = {
        name
        for name, value in vars(upscaler).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("upscaler.")
    }
    assert public <= set(upscaler.__all__)
