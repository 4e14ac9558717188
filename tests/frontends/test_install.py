"""`upscaler install-plugin`: the files arrive whole and once, are replaced, and leave no trace but what is not ours."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest
from upscaler_ui.install import HOSTS, NAME, RECORD

from upscaler.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=HOSTS)
def key(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def host(key: str, tmp_path: Path) -> Path:
    for mark in HOSTS[key].marks:
        (tmp_path / mark).mkdir()
    return tmp_path


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_pack_is_whole_and_the_same_each_time(key: str, host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-plugin", key, str(host)]) == 0
    target = host / HOSTS[key].plugins / NAME
    assert str(target) in capsys.readouterr().out
    pack = target / HOSTS[key].pack
    for name in (
        "upscaler/__init__.py",
        "upscaler/models/gan/network.py",
        "ui/upscaler_ui/__init__.py",
        "weights/manifest.toml",
    ):
        assert (pack / name).read_bytes() == (ROOT / name).read_bytes()
    first = digests(host)
    assert not [name for name in first if name.endswith(".pyc") or "__pycache__" in name]
    assert not [path for path in host.rglob("*") if path.is_symlink()]
    assert main(["install-plugin", key, str(host)]) == 0
    assert digests(host) == first
    assert [path.name for path in target.parent.iterdir()] == [NAME]


def test_an_update_replaces_what_is_old_and_keeps_what_is_foreign(key: str, host: Path) -> None:
    main(["install-plugin", key, str(host)])
    target = host / HOSTS[key].plugins / NAME
    engine = target / HOSTS[key].pack / "upscaler" / "__init__.py"
    engine.write_text("old")
    (target / "mine.txt").write_text("mine")
    assert main(["install-plugin", key, str(host)]) == 0
    assert engine.read_bytes() == (ROOT / "upscaler" / "__init__.py").read_bytes()
    assert (target / "mine.txt").read_text() == "mine"


def test_uninstalling_leaves_only_what_is_foreign(key: str, host: Path) -> None:
    before = digests(host)
    main(["install-plugin", key, str(host)])
    target = host / HOSTS[key].plugins / NAME
    cache = target / HOSTS[key].pack / "upscaler" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"")
    assert main(["install-plugin", key, str(host), "--uninstall"]) == 0
    assert digests(host) == before
    assert not target.exists()
    main(["install-plugin", key, str(host)])
    (target / "mine.txt").write_text("mine")
    assert main(["install-plugin", key, str(host), "--uninstall"]) == 0
    assert [path.relative_to(target).as_posix() for path in target.rglob("*")] == ["mine.txt"]
    assert main(["install-plugin", key, str(host), "--uninstall"]) != 0


def test_a_folder_that_is_not_the_host_is_refused(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-plugin", key, str(tmp_path)]) != 0
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(f"{mark}/" in message for mark in HOSTS[key].marks)
    assert not list(tmp_path.iterdir())


def test_a_plugin_of_that_name_from_elsewhere_is_refused(key: str, host: Path) -> None:
    other = host / HOSTS[key].plugins / NAME
    other.mkdir()
    (other / "__init__.py").write_text("theirs")
    assert main(["install-plugin", key, str(host)]) != 0
    assert main(["install-plugin", key, str(host), "--uninstall"]) != 0
    assert (other / "__init__.py").read_text() == "theirs"
    assert not (other / RECORD).exists()


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "ui" / "upscaler_ui").glob("*ui/**/*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_code_of_a_pack_finds_the_engine_by_relative_imports(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not {name.split(".")[0] for name in names} & {"upscaler", "ui"}
