"""The launcher of the installed program, with a small package from an index of this machine in place of upscaler."""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "packaging" / "launcher"
sys.path.insert(0, str(LAUNCHER))

from upscaler_launcher.building import Builder, BuildError, Stopped, reason_in, without_torch  # noqa: E402
from upscaler_launcher.environments import MARKER, Environments  # noqa: E402
from upscaler_launcher.isolation import for_program, for_uv  # noqa: E402
from upscaler_launcher.main import find_uv  # noqa: E402
from upscaler_launcher.progress import Meter, size_of  # noqa: E402
from upscaler_launcher.recipe import Recipe  # noqa: E402

FOUND = find_uv()
UV = FOUND or Path("uv")
needs_uv = pytest.mark.skipif(FOUND is None, reason="no uv on this machine; pip install uv")
KILLS = 20


def wheel(folder: Path, version: str, *, files: int = 150) -> Path:
    """A package whose import works only if every one of its files is there."""
    names = {f"thing/part{place}.py": b"VALUE = 1\n" * 40 for place in range(files)}
    code = "".join(f"from . import part{place}\n" for place in range(files)) + f"VERSION = {version!r}\n"
    names |= {"thing/__init__.py": code.encode()}
    about = f"thing-{version}.dist-info"
    names[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n".encode()
    names[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    rows = []
    for name, data in names.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    names[f"{about}/RECORD"] = ("\n".join([*rows, f"{about}/RECORD,,"]) + "\n").encode()
    path = folder / f"thing-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return path


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # new versions are seen at once
        super().end_headers()


class Index:
    """A package index on this machine, and recipes of what it has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "simple" / "thing").mkdir(parents=True)
        handler = functools.partial(_Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def recipe(self, version: str, *, check: str = "", start: str = "") -> Path:
        """The folder of a recipe for that version of the package."""
        file = wheel(self.folder / "simple" / "thing", version)
        links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in file.parent.glob("*.whl"))
        (file.parent / "index.html").write_text(f"<!doctype html><html><body>{links}</body></html>")
        folder = self.folder / f"recipe-{version}"
        folder.mkdir()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        (folder / "lock.txt").write_text(f"thing=={version} \\\n    --hash=sha256:{digest}\n")
        values = {
            "version": version,
            "python": sys.executable,
            "lock": "lock.txt",
            "wheels": [],
            "check": ["-c", check or "import thing"],
            "start": ["-c", start or "import thing, sys; print(thing.VERSION, *sys.argv[1:])"],
        }
        (folder / "recipe.json").write_text(json.dumps(values))
        return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    found = Index(tmp_path / "index")
    yield found
    found.server.shutdown()
    found.server.server_close()


def launch(index: Index, recipe: Path, root: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(index, recipe, root, *more), env=surroundings(environment), capture_output=True, text=True, check=False
    )


def command(index: Index, recipe: Path, root: Path, *more: str) -> list[str]:
    given = ["--text", "--root", str(root), "--recipe", str(recipe), "--uv", str(UV), "--index", index.url]
    return [sys.executable, "-m", "upscaler_launcher", *given, *more]


def surroundings(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(LAUNCHER), **more}


def test_it_imports_nothing_of_upscaler() -> None:
    for path in (LAUNCHER / "upscaler_launcher").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in ("upscaler", "upscaler_ui", "torch")], path


@needs_uv
def test_the_first_start_sets_up_and_later_ones_only_start(index: Index, tmp_path: Path) -> None:
    recipe, root = index.recipe("1.0"), tmp_path / "root"
    picture = tmp_path / "a b.png"
    first = launch(index, recipe, root, str(picture))
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"1.0 {picture}"
    index.server.shutdown()  # nothing more is fetched
    again = launch(index, recipe, root)
    assert again.stdout == "1.0\n"


@needs_uv
def test_the_configuration_of_the_user_does_not_leak_in(index: Index, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".config" / "uv").mkdir(parents=True)
    bad = "http://127.0.0.1:9/simple"
    (home / ".config" / "uv" / "uv.toml").write_text(f'index-url = "{bad}"\noffline = true\n')
    (home / ".config" / "pip").mkdir()
    (home / ".config" / "pip" / "pip.conf").write_text(f"[global]\nindex-url = {bad}\n")
    leaks = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "UV_DEFAULT_INDEX": bad,
        "UV_INDEX_URL": bad,
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": "/proc/nowhere",
        "PIP_INDEX_URL": bad,
        "VIRTUAL_ENV": str(home),
        "CONDA_PREFIX": str(home),
    }
    done = launch(index, index.recipe("1.0"), tmp_path / "root", **leaks)
    assert done.returncode == 0, done.stderr
    names = for_program({"PYTHONPATH": "x", "PIP_USER": "1", "UV_INDEX": "x", "HOME": "/h", "DISPLAY": ":0"})
    assert names == {"HOME": "/h", "DISPLAY": ":0", "PYTHONNOUSERSITE": "1"}
    assert for_uv(tmp_path, leaks)["UV_CACHE_DIR"] == str(tmp_path / "cache")


@needs_uv
def test_an_update_stands_beside_and_falls_back(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "root"
    environments = Environments(root)
    one = index.recipe("1.0")
    assert launch(index, one, root).returncode == 0
    first = environments.current

    does_not_start = index.recipe("2.0", check="raise SystemExit('no such library')")
    done = launch(index, does_not_start, root)
    assert "does not start: no such library" in done.stderr
    assert done.stdout.splitlines()[-1] == "1.0"
    assert environments.current == first

    dies = index.recipe("3.0", start="raise SystemExit(9)")
    done = launch(index, dies, root)
    assert "the one before is used again" in done.stderr
    assert done.stdout.splitlines()[-1] == "1.0"
    assert environments.current == first

    good = index.recipe("4.0")
    assert launch(index, good, root).stdout.splitlines()[-1] == "4.0"
    assert environments.previous == first
    assert {path.name for path in (root / "environments").iterdir()} == {environments.current, first}


@needs_uv
def test_uninstalling_removes_what_was_downloaded_and_keeps_what_is_the_users(index: Index, tmp_path: Path) -> None:
    root, history = tmp_path / "root", tmp_path / "data" / "upscaler" / "history"
    history.mkdir(parents=True)
    recipe, own = index.recipe("1.0"), {"XDG_DATA_HOME": str(tmp_path / "data")}
    assert launch(index, recipe, root, "--set-up-only", **own).returncode == 0
    done = launch(index, recipe, root, "--uninstall", **own)
    assert (done.returncode, done.stdout) == (0, f"kept: your history of results in {history}\n")
    assert not root.exists()
    assert history.is_dir()


@needs_uv
def test_no_kill_leaves_an_environment_that_is_trusted_and_broken(index: Index, tmp_path: Path) -> None:
    root = tmp_path / "root"
    environments = Environments(root)
    recipes = [index.recipe(f"{number}.0") for number in range(1, 5)]
    began = time.monotonic()
    assert launch(index, recipes[0], tmp_path / "other", "--set-up-only").returncode == 0
    usual = time.monotonic() - began
    chance = random.Random(5)
    trusted = 0
    for kill in range(KILLS):
        if kill % 7 == 0:
            shutil.rmtree(root, ignore_errors=True)  # a first start again; otherwise the next one goes on, or updates
        recipe = recipes[kill % len(recipes)]
        process = subprocess.Popen(
            command(index, recipe, root, "--set-up-only"),
            env=surroundings({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(chance.uniform(0.1, 1.1) * usual)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        id = environments.current
        if id is not None:
            trusted += 1
            assert subprocess.run([environments.python(id), "-I", "-c", "import thing"], check=False).returncode == 0
    assert trusted  # some were finished before they were killed
    assert launch(index, recipes[-1], root).stdout.splitlines()[-1] == "4.0"


@needs_uv
def test_a_first_start_that_is_killed_at_any_step_is_made_again(index: Index, tmp_path: Path) -> None:
    recipe = index.recipe("1.0")
    steps = launch(index, recipe, tmp_path / "whole", "--set-up-only").stdout.splitlines()
    assert len(steps) >= 5
    for last in range(len(steps)):
        root = tmp_path / str(last)
        with subprocess.Popen(
            command(index, recipe, root, "--set-up-only"),
            env=surroundings({}),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(last + 1):
                process.stdout.readline()
            os.killpg(process.pid, signal.SIGKILL)
        assert Environments(root).current is None
        assert launch(index, recipe, root).stdout.splitlines()[-1] == "1.0"


def test_what_uv_says_of_a_fault_is_told_without_its_hints() -> None:
    lines = ["error: Failed to fetch: a", "cause: client error (Connect)", "cause: no route to host", "hint: use --b"]
    assert reason_in(lines) == "Failed to fetch: a (no route to host)"
    assert reason_in(["Traceback", "ImportError: no such library."]) == "ImportError: no such library"
    assert reason_in([]) == ""


def test_only_the_marker_makes_an_environment_trusted(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    environments.clear("a")
    python = environments.python("a")
    python.parent.mkdir(parents=True)
    python.touch()
    assert not environments.is_complete("a")
    environments.complete("a", ())
    assert environments.current == "a"
    python.unlink()
    assert environments.current is None
    python.touch()
    (environments.folder("a") / MARKER).write_text('{"id": "b"}')
    assert environments.current is None
    (tmp_path / "current.json").write_text('{"current": "../a", "previous": 3}')
    assert environments.current is environments.previous is None


def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    recipe = Recipe("1", "3", tmp_path / "lock.txt", (), (), (), (), 1, 10**18)
    builder = Builder(recipe, Environments(tmp_path / "root"), UV)
    with pytest.raises(BuildError, match=r"too little room on the disk: .* are needed"):
        builder.check_disk()


@needs_uv
def test_a_pause_ends_the_step_and_the_next_try_goes_on(index: Index, tmp_path: Path) -> None:
    recipe = Recipe.read(index.recipe("1.0"))
    environments = Environments(tmp_path / "root")
    builder = Builder(recipe, environments, UV, index=index.url)
    builder.note = lambda line: builder.stop() if line.startswith("Downloading") else None
    with pytest.raises(Stopped):
        builder.build()
    assert environments.current is None
    builder.note = lambda line: None
    assert environments.current is None
    assert builder.build() == environments.current


def test_torch_can_be_left_out_of_a_lock() -> None:
    lock = "a==1 \\\n    --hash=x\ntorch==2 ; os \\\n    --hash=y \\\n    --hash=z\nnvidia-cublas==1 \\\n    --hash=q\nz==2 \\\n    --hash=w\n"
    assert without_torch(lock) == "a==1 \\\n    --hash=x\nz==2 \\\n    --hash=w\n"


def test_progress_counts_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(1000))
    os.link(tmp_path / "a" / "x", tmp_path / "y")
    assert size_of((tmp_path,)) == 1000
    meter = Meter((tmp_path,), 4000)
    assert meter.look(0) == (0.25, None)
    (tmp_path / "z").write_bytes(bytes(1000))
    fraction, left = meter.look(10)
    assert (fraction, left) == (0.5, 20.0)
