"""What the desktop program has begun and not finished: it comes back, whatever has ended the program."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from upscaler_ui.app import jobs
from upscaler_ui.app.inputs import Input
from upscaler_ui.app.job import Job
from upscaler_ui.app.jobs import Worker
from upscaler_ui.app.sessions import Sessions
from upscaler_ui.desktop import folders
from upscaler_ui.desktop.page import build_desktop, settings_in_look
from upscaler_ui.desktop.queue import Queue, Waiting
from upscaler_ui.desktop.server import Calls
from upscaler_ui.desktop.session import DesktopSession, for_other_pictures

from upscaler.arrays.types import Array
from upscaler.errors import SettingsError
from upscaler.folders import replace_text, state_folder
from upscaler.geometry import Size
from upscaler.options import presets
from upscaler.options.settings import Settings
from upscaler.pictures.files import load, save
from upscaler.testing import InvertRefiner, NearestUpscaler

from .window import until

SETTINGS = Settings.of(scale=2, tile="64", overlap=16, feather=8, seams="none", strength=1.0)


class Idle(Worker):
    """Takes jobs and never runs them: the program ends before their turn comes."""

    def submit(self, job: Job) -> Job:
        return job


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: NearestUpscaler(scale=2))
    monkeypatch.setattr(jobs, "refiner_for", lambda settings: InvertRefiner())


@contextmanager
def program(folder: Path, worker: type[Worker] = Worker) -> Iterator[DesktopSession]:
    """A start of the server's process."""
    sessions = Sessions(folder / "history", worker(), DesktopSession)
    session = sessions.session(None, "")
    assert isinstance(session, DesktopSession)
    yield session
    sessions.close()


@contextmanager
def opened(folder: Path, worker: type[Worker] = Worker) -> Iterator[tuple[DesktopSession, Any, Any]]:
    """A start with its page: the session, the page's handlers, and a request of that page."""
    sessions = Sessions(folder / "history", worker(), DesktopSession)
    blocks = build_desktop(sessions)
    page: Any = next(fn.fn.__self__ for fn in blocks.fns.values() if fn.name == "on_load")
    request: Any = SimpleNamespace(session_hash="page", username=None)
    session, _ = page.of(request)
    yield session, page, request
    sessions.close()


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (80, 96, 3), np.uint8)).save(path)
    return path


def right_half() -> Array:
    mask = np.zeros((80, 96), np.float32)
    mask[:, 48:] = 1
    return mask


def at_rest(session: DesktopSession) -> None:
    while session.busy:
        time.sleep(0.02)


def waiting(name: str) -> Waiting:
    return Waiting(Path("/pictures", name), Path("/pictures"), name, Settings.of(scale=2))


def test_the_queue_outlives_its_process(tmp_path: Path) -> None:
    file = tmp_path / "queue.json"
    queue = Queue(file)
    queue.add({"1": waiting("a"), "2": waiting("b"), "3": waiting("c")})
    queue.over("1")
    queue.over("2")
    assert Queue(file).left == [waiting("c")]
    again = Queue(file)
    again.add({"4": waiting("d")})
    assert Queue(file).left == [waiting("c"), waiting("d")]
    again.forget_left()
    again.over("4")
    assert Queue(file).left == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"settings": [{}], "items": {"1": [1]}}', '{"items": 3, "settings": 4}']
)
def test_a_queue_that_is_not_ours_is_empty(tmp_path: Path, text: str) -> None:
    file = tmp_path / "queue.json"
    file.write_text(text)
    assert Queue(file).left == []


def test_what_was_left_is_begun_again_with_its_mask(tmp_path: Path) -> None:
    own, pasted = photo(tmp_path / "in" / "own.png"), photo(tmp_path / "pasted.png")
    with program(tmp_path, Idle) as session:
        session.choose([own])
        session.start([Input(own, "own")], SETTINGS, right_half())
        session.start([Input(own, "own")], SETTINGS.but(tile_prompt="0,0,50,50: sky"))
        session.start([Input(pasted, "pasted")], SETTINGS)
    pasted.unlink()  # it has no place of its own, so that a copy was kept
    with program(tmp_path) as session:
        assert session.unfinished == 3
        session.resume()
        session.start([Input(own, "own")], SETTINGS, right_half())
        assert [job.settings.diffusion.tile_prompt for job in session.jobs] == ["", "0,0,50,50: sky", "", ""]
        at_rest(session)
        assert [job.error for job in session.jobs] == [None] * 4
        entries = [session.history.get(job.id) for job in session.jobs]
        left, whole, copy, anew = (load(entry.result_path).pixels for entry in entries if entry)
    assert sorted(path.name for path in own.parent.iterdir()) == [f"own-x2{tag}.png" for tag in ("-2", "-3", "")] + [
        "own.png"
    ]
    np.testing.assert_array_equal(left, anew)
    np.testing.assert_array_equal(whole, copy)
    assert (left[:, :88] != whole[:, :88]).any()
    assert not list((tmp_path / "state").rglob("*.npy"))
    with program(tmp_path) as session:
        assert session.unfinished == 0


def test_what_is_stopped_by_the_end_of_the_program_is_left_and_what_its_user_stops_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: go_on.wait() and NearestUpscaler(scale=2))
    own, pasted = photo(tmp_path / "in" / "own.png"), photo(tmp_path / "pasted.png")
    with program(tmp_path) as session:
        session.choose([own])
        for path in (own, pasted, own, pasted):
            session.start([Input(path, path.stem)], SETTINGS)
        for job in session.jobs[:2]:
            job.stop()
        session.leave()
        go_on.set()
    with program(tmp_path) as session:
        assert session.unfinished == 2
        session.forget_left()
        assert session.unfinished == 0
    with program(tmp_path) as session:
        assert session.unfinished == 0


def test_the_page_follows_what_is_gone_on_with_so_that_stop_stops_it(tmp_path: Path) -> None:
    own = photo(tmp_path / "in" / "own.png")
    with program(tmp_path, Idle) as session:
        session.choose([own])
        session.start([Input(own, "own")], SETTINGS)
    with opened(tmp_path, Idle) as (session, page, request):
        session.resume()
        page.on_look(request)
        assert page.of(request)[1].jobs == session.jobs
        page.on_stop(request)
        assert [job.stopping for job in session.jobs] == [True]


def test_the_page_says_that_pictures_are_left_out_until_others_are_chosen(tmp_path: Path) -> None:
    with opened(tmp_path) as (session, page, request):
        first, second = photo(tmp_path / "in" / "monday" / "a.png"), photo(tmp_path / "in" / "tuesday" / "b.png")
        session.choose([tmp_path / "in"])
        values = [field.value for field in page.form.fields]
        shown = page.on_look(request, *values)
        assert (shown[page.bar]["names"], shown[page.bar]["folder"]) == (["a.png", "b.png"], str(tmp_path / "in"))
        settings = page.form.settings(values, source=Size(96, 80))
        for path in (first, second):
            save(load(path), path.with_name(f"{path.stem}-x4.png"), settings_json=settings.to_json())
        assert "2 pictures already have a result and are left out." in page.on_run(request, *values)[page.status]
        session.choose([first])
        assert page.on_look(request, *values)[page.status] == ""


def test_an_entry_whose_mask_is_lost_is_not_begun_without_it(tmp_path: Path) -> None:
    file = tmp_path / "queue.json"
    item = waiting("a")
    queue = Queue(file)
    queue.add({"1": Waiting(item.source, item.root, item.name, item.settings, right_half()), "2": waiting("b")})
    (mask,) = tmp_path.rglob("*.npy")
    mask.write_bytes(mask.read_bytes()[:100])
    assert Queue(file).left == [waiting("b")]


def test_a_picture_of_a_folder_is_enlarged_again_where_a_mask_is_wanted(tmp_path: Path) -> None:
    own = photo(tmp_path / "in" / "own.png")
    with program(tmp_path) as session:
        session.choose([own.parent])
        item = Input.of(own)
        (job,) = session.start([item], SETTINGS)
        at_rest(session)
        assert job.error is None
        assert session.start([item], SETTINGS) == []
        assert len(session.start([item], SETTINGS, right_half())) == 1
        at_rest(session)


def test_a_look_for_a_watched_folder_lies_over_the_last_run_without_its_words() -> None:
    last = SETTINGS.but(prompt="a red barn", quality=70, strength=0.9)
    replace_text(state_folder() / "desktop-settings.json", json.dumps(last.to_dict()))
    assert settings_in_look(None) == last
    art = settings_in_look(presets.get("art"))
    assert (art.diffusion.strength, art.diffusion.prompt, art.output.quality) == (0.17, "", 70)


def test_the_sides_of_one_picture_are_not_remembered_for_others() -> None:
    for sides in {"width": 3840}, {"height": 2160}, {"width": 90, "height": 80}:
        assert for_other_pictures(Settings.of(strength=0.3, **sides)) == Settings.of(strength=0.3)


def test_what_lands_in_a_watched_folder_is_enlarged_in_the_look_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_POLL", 0.02)
    presets.save("mine", Settings.of(strength=0.25, tile="64", overlap=16, feather=8, seams="none"))
    place = tmp_path / "in"
    with opened(tmp_path, Idle) as (session, page, request):
        calls = Calls(session, lambda: "")
        found = calls.looks()
        assert ("mine", "mine (your preset)") in found["looks"]
        assert ("art", "Art") in found["looks"]
        assert found["size"] == "×4"
        for value, said in ({"scale": 1.5}, "×1.5"), ({"megapixels": 12.0}, "to 12 megapixels"):
            remembered = for_other_pictures(Settings.of(**value))
            replace_text(state_folder() / "desktop-settings.json", json.dumps(remembered.to_dict()))
            assert calls.looks()["size"] == said
        (state_folder() / "desktop-settings.json").unlink()
        with pytest.raises(SettingsError, match="preset gone: does not exist"):
            calls.watch(str(place), "gone")
        assert session.watched is None

        assert calls.watch(str(place), "mine") == "mine (your preset)"
        page.on_look(request)
        photo(place / "own.png")
        (job,) = until(lambda: session.jobs, "the job")
        page.on_tick(request)
        assert page.of(request)[1].jobs == [job]  # so that Stop stops it
        assert job.settings.diffusion.strength == 0.25
        assert page.of(request)[1].sent["bar"]["watched"] == [str(place), "mine (your preset)"]
        calls.stop_watching()
        page.on_look(request)
        assert page.of(request)[1].sent["bar"]["watched"] is None
