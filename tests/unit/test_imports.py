"""Who may import whom, and what the public surface is; in fresh interpreters, so that nothing is loaded already."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import upscaler

PACKAGE = Path(upscaler.__file__).parent
UI = PACKAGE.parent / "ui" / "upscaler_ui"
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "spandrel", "safetensors", "accelerate"}

VALUES = {"errors", "geometry", "text"}
LAW = {
    "errors": set[str](),
    "geometry": set[str](),
    "text": set[str](),
    "events": VALUES | {"pictures", "stages", "options"},  # names of types only
    "folders": set[str](),
    "ggufs": VALUES,
    "headers": VALUES | {"ggufs"},
    "families": VALUES | {"folders", "headers"},
    "places": VALUES | {"folders", "families"},
    "options": VALUES | {"folders"},
    "arrays": VALUES,
    "pictures": VALUES | {"folders", "arrays"},
    "tiling": VALUES | {"events", "arrays"},
    "stages": VALUES | {"events", "options", "arrays", "tiling", "models.base"},
    "models.base": VALUES | {"memory", "options", "arrays", "tiling"},
    "memory": set[str](),
    "models": VALUES
    | {"memory", "folders", "options", "arrays", "tiling", "weights", "families", "headers", "ggufs", "models.base"},
    "run_plan": VALUES | {"memory", "events", "options", "arrays", "tiling", "stages", "models.base"},
    "plan": VALUES | {"memory", "options", "tiling", "stages", "run_plan", "models.base"},
    "planning": VALUES
    | {"options", "pictures", "stages", "plan", "run_plan", "fitting", "timing", "weights", "models", "models.base"},
    "loading": VALUES | {"options", "planning", "workers", "models", "models.base"},
    "pipeline": VALUES
    | {"events", "options", "arrays", "pictures", "tiling", "stages", "plan", "run_plan", "models.base"},
    "weights": VALUES | {"memory", "folders", "families", "places"},
    "batch": VALUES | {"folders", "pictures"},
    "scratch": VALUES | {"memory", "options", "arrays", "plan", "run_plan", "models.base"},
    "workers": VALUES | {"memory", "options", "arrays", "tiling", "models.base"},
    "resume": VALUES | {"folders", "options", "arrays", "pictures", "tiling", "weights"},
    "describe": VALUES | {"options", "run_plan", "weights"},
    "fitting": VALUES | {"options", "run_plan"},
    "timing": VALUES | {"events", "folders", "options", "run_plan"},
    "forecast": VALUES | {"events", "timing"},
    "testing": VALUES | {"options", "arrays", "tiling", "models.base"},
}
"""Which parts of the engine a part may import; a part is a folder or a module of the package. `api` and `cli` may import all."""
LIBRARIES = {
    "stdlib": {"errors", "geometry", "text", "families", "headers", "ggufs", "events", "options", "timing", "forecast"},
    "numpy": {"plan", "run_plan", "arrays", "pictures", "tiling", "stages", "pipeline", "testing"},
}
IMAGE_LIBRARIES = {"numpy", "PIL", "pywt", "tifffile", "pyvips", "defusedxml"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=UI.parent)
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
    assert not loaded_by("import upscaler") & (HEAVY | {"gradio", "rich", "tifffile", "upscaler_ui"})


def test_the_bundled_models_need_no_transformers() -> None:
    loaded = loaded_by("from upscaler.models import load_refiner; load_refiner('pocket', device='cpu')")
    assert "torch" in loaded
    assert not loaded & {"transformers", "peft"}


def test_the_fakes_need_no_network_library() -> None:
    assert not loaded_by("import upscaler.testing") & HEAVY


def test_help_needs_no_network_library() -> None:
    assert not loaded_by("import upscaler.cli.parser; upscaler.cli.parser.make_parser()") & HEAVY


def part_of(path: Path) -> str:
    """The part of the engine that a file belongs to."""
    inner = path.relative_to(PACKAGE).with_suffix("").parts
    return "models.base" if inner == ("models", "base") else inner[0]


def parts_imported(path: Path) -> set[str]:
    """The parts that a file of the engine imports, wherever in it: relative imports, resolved."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = path.parents[node.level - 1].relative_to(PACKAGE).parts
        base = (*folder, *(node.module.split(".") if node.module else ()))
        targets = [base] if base else [(alias.name,) for alias in node.names]
        found |= {"models.base" if target[:2] == ("models", "base") else target[0] for target in targets}
    return found - {"__version__"}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers(path: Path) -> None:
    part = part_of(path)
    for module, level, at_top in imports_of(path):
        root = module.split(".")[0]
        assert root not in ("upscaler", "upscaler_ui", "gradio"), (
            f"{path.name} imports {module}: inside the package imports are relative"
        )
        if level:
            continue
        if part in LIBRARIES["stdlib"]:
            assert root in sys.stdlib_module_names, f"{path.name} imports {module}: standard library only"
        if part in LIBRARIES["numpy"]:
            allowed = root in sys.stdlib_module_names or root in IMAGE_LIBRARIES
            assert allowed, f"{path.name} imports {module}: {', '.join(IMAGE_LIBRARIES)} only"
        if root in HEAVY and part != "models":
            assert not at_top, f"{path.name} imports {module} when it is imported"
    if part in LAW:
        wrong = parts_imported(path) - LAW[part] - {part}
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(wrong)}; {part} may import {LAW[part]}"


def test_the_law_names_every_part() -> None:
    free = {"__init__", "__main__", "api", "cli"}
    assert {part_of(path) for path in FILES} == LAW.keys() | free
    assert all(parts <= LAW.keys() for parts in LAW.values())


def test_no_file_imports_itself_in_a_circle() -> None:
    def module(path: Path) -> str:
        inner = path.relative_to(PACKAGE).with_suffix("").parts
        return ".".join(inner[:-1] if inner[-1] == "__init__" else inner)

    known = {module(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text("utf-8"))
        typing_only = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not node.level or id(node) in typing_only:
                continue
            base = [*path.parents[node.level - 1].relative_to(PACKAGE).parts, *(node.module or "").split(".")]
            target = ".".join(filter(None, base))
            names = {f"{target}.{alias.name}".lstrip(".") for alias in node.names}
            graph.setdefault(name, set()).update((names & known.keys()) or ({target} & known.keys()))

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            for after in graph.get(queue.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
        return seen

    assert [name for name in known if name in reach(name)] == []


def test_the_commands_of_the_front_ends_load_no_front_end() -> None:
    assert not loaded_by("import upscaler_ui.commands") & (HEAVY | {"gradio", "PySide6", "comfy"})


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: str(path.relative_to(UI)))
def test_front_ends(path: Path) -> None:
    folder = path.relative_to(UI).parts[0]
    for module, level, at_top in imports_of(path):
        root = module.split(".")[0]
        if level == 0 and root in HEAVY:
            assert folder in ("comfyui", "webui"), f"{path} imports {module}: networks are the engine's or a host's"
        if folder in ("comfyui", "webui") and "root" not in path.parts:
            assert root not in ("upscaler", "upscaler_ui") or level, (
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
