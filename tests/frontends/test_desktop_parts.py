"""The parts of the desktop window that need no window."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Pillow
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from upscaler_ui.desktop import command, deliver, folders, preflight
from upscaler_ui.desktop.gate import Gate

from upscaler.cli import main
from upscaler.errors import ImageError
from upscaler.geometry import Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import load, save

from .window import until


@pytest.fixture
def site() -> tuple[Gate, Any]:
    gate = Gate()
    routes = [Route(path, lambda request: PlainTextResponse("in"), methods=["GET", "POST"]) for path in ("/", "/api")]
    return gate, Starlette(routes=routes, middleware=[gate.middleware])


def test_a_ticket_is_good_for_one_visitor_and_becomes_a_cookie(site: tuple[Gate, Any]) -> None:
    gate, app = site
    address = gate.address("http://127.0.0.1:7860/")
    ours, other = (TestClient(app, base_url="http://127.0.0.1:7860") for _ in range(2))
    assert ours.get("/api").status_code == 403
    cookie = ours.get(address, follow_redirects=False).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert ours.get("/api").text == ours.post("/api").text == "in"
    themed = gate.address("http://127.0.0.1:7860") + "&__theme=dark"
    assert 'url=/?__theme=dark"' in ours.get(themed).text
    injected = gate.address("http://127.0.0.1:7860") + "&__theme=%22%3E"
    assert 'url=/"' in ours.get(injected).text
    assert other.get(address).status_code == 403
    assert other.post("/api").status_code == 403
    assert ours.get(address).text == "in"  # opened again: no new cookie, and no ticket in what the page sees


@pytest.mark.parametrize("header", ["", "x=y", "upscaler=", ";;;=", "upscaler-00000000=" + "a" * 43, "\x80"])
def test_no_other_cookie_opens_the_gate(header: str) -> None:
    assert not Gate().admits(header)


def test_cookies_of_one_start_do_not_open_another(site: tuple[Gate, Any]) -> None:
    gate, app = site
    ours = TestClient(app, base_url="http://127.0.0.1:7860")
    ours.get(gate.address("http://127.0.0.1:7860"))
    header = "; ".join(f"{name}={value}" for name, value in ours.cookies.items())
    assert gate.admits(header)
    assert not Gate().admits(header)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    result.write_bytes(b"new")
    (tmp_path / "photo-x4.png").write_bytes(b"old")
    assert deliver.put(result, tmp_path, "photo-x4") == tmp_path / "photo-x4-2.png"
    assert deliver.put(result, tmp_path / "a" / "b", "photo-x4") == tmp_path / "a" / "b" / "photo-x4.png"
    assert (tmp_path / "photo-x4.png").read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_without_links_overwrites_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    result = tmp_path / "result.png"
    result.write_bytes(b"new")
    (tmp_path / "photo-x4.png").write_bytes(b"old")
    assert deliver.put(result, tmp_path, "photo-x4").read_bytes() == b"new"
    assert (tmp_path / "photo-x4.png").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    result.write_bytes(b"new")
    with pytest.raises(ImageError, match=r"^photo-x4.png: cannot be written to .*; it is in the history"):
        deliver.put(result, result, "photo-x4")


def test_results_keep_the_folders_below_the_one_that_was_chosen(tmp_path: Path) -> None:
    source = tmp_path / "in" / "a" / "photo.png"
    assert deliver.home_of(source, None, None) == source.parent
    assert deliver.home_of(source, tmp_path / "in", None) == source.parent
    assert deliver.home_of(source, None, tmp_path / "out") == tmp_path / "out"
    assert deliver.home_of(source, tmp_path / "in", tmp_path / "out") == tmp_path / "out" / "a"


@pytest.mark.parametrize(
    ("target", "tag"), [((400, 200), "x4"), ((250, 125), "x2.5"), ((333, 166), "x3.33"), ((333, 90), "333x90")]
)
def test_a_name_says_how_large(target: tuple[int, int], tag: str) -> None:
    assert deliver.factor_tag(Size(100, 50), Size(*target)) == tag


def test_root_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(preflight.sys, "platform", "linux")
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    assert "does not run as root" in str(preflight.missing({"DISPLAY": ":0"}))
    assert preflight.missing({"DISPLAY": ":0", "QTWEBENGINE_DISABLE_SANDBOX": "1"}) is None
    assert "no screen" in str(preflight.missing({}))


def test_an_engine_that_is_not_installed_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    assert str(preflight.missing({})).endswith('run: pip install "tiled-diffusion-upscaler[desktop]"')


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "ImportError: libEGL.so.1: cannot open shared object file: No such file",
            "the library libEGL.so.1 is missing; run: sudo ",
        ),
        (
            "qt.qpa.plugin: From 6.5.0, xcb-cursor0 or libxcb-cursor0 is needed",
            "the library libxcb-cursor0 is missing; run: sudo ",
        ),
        ("qt.qpa.xcb: could not connect to display :9", "the screen that DISPLAY"),
        ("a\nb\n", "the window's process ended with -6: b"),
    ],
)
def test_an_end_of_the_window_is_explained(output: str, said: str) -> None:
    assert preflight.reason_of(-6, output).startswith(said)


def test_the_process_of_the_window_loads_nothing_of_the_server() -> None:
    pytest.importorskip("PySide6.QtWebEngineWidgets", exc_type=ImportError)
    code = "import sys, upscaler_ui.desktop.main, upscaler_ui.desktop.window; print(*{'gradio', 'torch'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_python_emits_no_signals() -> None:
    """Each takes a reference to True away (PySide 6.12); a Python before 3.12 ends the process when there are none left."""
    root = Path(__file__).parents[2]
    for folder in (root / "ui" / "upscaler_ui" / "desktop", root / "packaging" / "launcher"):
        assert [path for path in folder.rglob("*.py") if ".emit(" in path.read_text("utf-8")] == []


def png(path: Path, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (side, side)).save(path)
    return path


def test_results_in_a_folder_are_no_sources(tmp_path: Path) -> None:
    names = ("a.png", "a-x4.png", "a-x4-2.png", "b-x2.png", "sub/c.jpg", "sub/c-100x50.webp", ".hidden/d.png", "e.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in folders.sources_below(tmp_path)]
    assert found == ["a.png", "b-x2.png", "sub/c.jpg"]  # b-x2.png has no source here, so it is a picture of its own


def test_twins_of_another_format_get_names_of_their_own(tmp_path: Path) -> None:
    one, other = png(tmp_path / "a.png"), png(tmp_path / "a.bmp")
    stems = {folders.result_stem(path, "a", Size(8, 8), Size(32, 32)) for path in (one, other)}
    assert stems == {"a-png-x4", "a-bmp-x4"}
    for stem in stems:
        png(tmp_path / f"{stem}.png")
    assert set(folders.sources_below(tmp_path)) == {one, other}


def test_only_a_result_of_these_settings_counts_as_finished(tmp_path: Path) -> None:
    source, settings = png(tmp_path / "a.png"), Settings.of(scale=4)
    result = tmp_path / "a-x4.png"
    save(load(source), result, settings_json=settings.to_json())
    assert folders.is_finished(source, result, settings)
    assert not folders.is_finished(source, result, settings.but(strength=0.9))
    os.utime(source, (result.stat().st_mtime + 10,) * 2)  # it was changed after that
    assert not folders.is_finished(source, result, settings)


def test_a_watched_folder_hands_over_what_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_POLL", 3600.0)
    notes = tmp_path / "notes.json"
    watch = folders.Watch(tmp_path, "Art", lambda paths: None, notes, lambda: tmp_path / "out")
    try:
        whole = png(tmp_path / "whole.png", 64)
        half = tmp_path / "half.png"
        half.write_bytes(whole.read_bytes()[:-40])
        apart = png(tmp_path / "out" / "result.png")
        now = [whole, half, apart]
        assert watch.arrivals(now) == []  # it may still grow
        assert watch.arrivals(now) == [whole]
        assert watch.arrivals(now) == []
        half.write_bytes(whole.read_bytes())
        assert watch.arrivals(now) == []
        assert watch.arrivals(now) == [half]
    finally:
        watch.stop()


def test_a_watch_goes_on_after_another_start_and_hands_nothing_over_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_POLL", 0.02)
    notes, place = tmp_path / "state" / "notes.json", tmp_path / "in"
    taken: list[Path] = []

    def watch(look: str) -> folders.Watch:
        taken.clear()
        return folders.Watch(place, look, taken.extend, notes)

    def has_taken(*names: str) -> None:
        until(lambda: sorted(path.name for path in taken) == list(names), f"{names}, and not {taken}", 5)

    png(place / "a.png")
    first = watch("Art")
    has_taken("a.png")
    until(notes.is_file, "the notes")
    first.stop()  # the program ends
    png(place / "b.png")  # it came while nobody looked
    again = watch("Art")
    has_taken("b.png")
    again.stop()
    other = watch("Photo")  # of another look there is nothing yet
    has_taken("a.png", "b.png")
    other.end()  # its user wants no more of it
    anew = watch("Photo")
    has_taken("a.png", "b.png")
    anew.end()
    assert not notes.exists()


MESSAGES = """
import jeepney.io.blocking as bus
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication
from upscaler_ui.desktop.notify import Notifier

class Bus:
    def send(self, message):
        found = jeepney.Parser().feed(message.serialise(1))[0]
        print(found.header.fields[jeepney.HeaderFields.member], found.body)

import jeepney
bus.open_dbus_connection = lambda name: Bus()
application = QApplication(["upscaler"])
notifier = Notifier(application, QIcon())
notifier.tell("hills finished", "Saved as hills-x4.png")
notifier.progress(0.5)
notifier.progress(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the tray shows messages")
def test_messages_and_progress_are_what_the_desktop_expects() -> None:
    pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MESSAGES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    message, half, none = done.stdout.splitlines()
    assert message == "Notify ('upscaler', 0, 'upscaler', 'hills finished', 'Saved as hills-x4.png', [], {}, 8000)"
    assert "('d', 0.5)" in half
    assert "('b', True)" in half
    assert "('b', False)" in none


@pytest.mark.parametrize("flags", [[], ["--no-browser"]])
def test_no_browser_is_opened_where_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    opened: list[str] = []

    @contextmanager
    def app(*, window: bool) -> Iterator[Any]:
        yield None, lambda: "http://127.0.0.1:7860/"

    monkeypatch.setattr(command, "missing", lambda: "there is no screen")
    monkeypatch.setattr("upscaler_ui.desktop.server.desktop_app", app)
    monkeypatch.setattr("upscaler_ui.app.start.wait_for_stop", lambda: None)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["ui", "--desktop", *flags]) == 0
    assert opened == ([] if flags else ["http://127.0.0.1:7860/"])
    said = capsys.readouterr().err
    assert ("opening the browser" in said) != bool(flags)
    assert "running at http://127.0.0.1:7860/" in said
