"""The parts of the app, without a browser and without weights."""

from __future__ import annotations

import base64
import inspect
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio")

from upscaler_ui.app import choices, failures, form, jobs, listing, looks, parts, sizes  # noqa: E402 - after it is known that Gradio is there
from upscaler_ui.app import history as history_module  # noqa: E402
from upscaler_ui.app import result_handlers as result_handlers_module  # noqa: E402
from upscaler_ui.app import results as results_module  # noqa: E402
from upscaler_ui.app import sessions as sessions_module  # noqa: E402
from upscaler_ui.app import views as views_module  # noqa: E402
from upscaler_ui.app.handlers import Handlers, build  # noqa: E402
from upscaler_ui.app.history import History  # noqa: E402
from upscaler_ui.app.inputs import Input  # noqa: E402
from upscaler_ui.app.job import Job, State  # noqa: E402
from upscaler_ui.app.jobs import Worker  # noqa: E402
from upscaler_ui.app.live import LiveView  # noqa: E402
from upscaler_ui.app.page import Page  # noqa: E402
from upscaler_ui.app.results import check_result, convert, file_name  # noqa: E402
from upscaler_ui.app.sessions import Sessions  # noqa: E402
from upscaler_ui.app.views import enlarged_part, reduced  # noqa: E402

from upscaler import plan, save, to_pil  # noqa: E402
from upscaler.arrays.resample import resample  # noqa: E402
from upscaler.errors import ImageError, OutOfMemory, SettingsError, UpscalerError  # noqa: E402
from upscaler.events import Progress, Stage  # noqa: E402
from upscaler.geometry import Box, Size  # noqa: E402
from upscaler.options import presets  # noqa: E402
from upscaler.options.settings import Settings, options  # noqa: E402
from upscaler.pictures import files as files_module  # noqa: E402
from upscaler.pictures.files import load, read_settings  # noqa: E402
from upscaler.pictures.picture import Picture  # noqa: E402
from upscaler.testing import IdentityRefiner, InvertRefiner, NearestUpscaler  # noqa: E402

SMALL = Settings.of(scale=2, tile="64", overlap=16, feather=8, seams="none", batch=1)


class SlowRefiner(IdentityRefiner):
    """Takes a moment for each step."""

    def __call__(self, tiles: Any, *, on_step: Any, sampling: Any, **rest: Any) -> Any:
        def slowly(step: int, of: int) -> None:
            time.sleep(0.05)
            on_step(step, of)

        return super().__call__(tiles, on_step=slowly, sampling=sampling, **rest)


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "my photo.png"
    Image.fromarray(rng.integers(0, 256, (80, 96, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: NearestUpscaler(scale=2))
    monkeypatch.setattr(jobs, "refiner_for", lambda settings: SlowRefiner())
    found = Worker()
    yield found
    found.close()


@pytest.fixture
def sessions(worker: Worker, tmp_path: Path) -> Any:
    found = Sessions(tmp_path / "history", worker)
    yield found
    found.close()


def handlers_of(blocks: Any) -> Handlers:
    """The page behind its blocks."""
    return next(fn.fn.__self__ for fn in blocks.fns.values() if fn.name == "on_load")


def wait(*wanted: Job) -> None:
    for _ in range(400):
        if all(job.state.over for job in wanted):
            return
        time.sleep(0.025)
    raise AssertionError([job.state for job in wanted])


# settings as widgets


def test_every_setting_has_a_widget_and_comes_back_from_it() -> None:
    with gradio.Blocks():
        made = form.Form()
        made.look()
        made.size()
        made.advanced()
    assert set(made.widgets) | set(form.LEFT_OUT) == {option.name for option in options()}
    assert set(made.widgets) == set(made.table)
    settings = Settings.of(
        strength=0.31, width=777, seams="band", seed=12345678901, format="tiff", bit_depth=16, prompt="a hill"
    )
    updates = made.updates(settings)
    values = [updates.get(field, field.value) for field in made.fields]
    assert made.settings(values) == settings
    assert made.settings([field.value for field in made.fields]) == Settings()


@pytest.mark.parametrize(
    ("by", "values", "target"),
    [
        ("×2", {"scale": 3, "width": 99}, {"scale": 2}),
        ("4K", {"scale": 3}, {"width": 3840}),
        ("Factor", {"scale": 3, "width": 99}, {"scale": 3}),
        ("Pixels", {"width": 640, "height": None}, {"width": 640}),
        ("Pixels", {"width": 640, "height": 480}, {"width": 640, "height": 480}),
        ("Megapixels", {"megapixels": 2.5, "scale": 2}, {"megapixels": 2.5}),
        ("Print", {"print": (25.4, None, 300)}, {"width": 3000}),
    ],
)
def test_ways_to_say_a_size(by: str, values: dict[str, Any], target: dict[str, Any]) -> None:
    with gradio.Blocks():
        made = form.Form()
        made.look()
        made.size()
        made.advanced()
    width, height, dpi = values.pop("print", (None, None, None))
    way = (by, "Factor") if by in sizes.WAYS else ("Custom", by)
    given = [*way, width, height, dpi, *(values.get(name, made.widgets[name].value) for name in made.table)]
    assert made.settings(given) == Settings.of(**target)
    if by == "4K":  # the longer side, whichever that is
        assert made.settings(given, source=Size(300, 400)) == Settings.of(height=3840)


@pytest.mark.parametrize("by", ["Pixels", "Megapixels", "Print"])
def test_a_size_that_is_not_filled_in_is_said(by: str) -> None:
    with gradio.Blocks():
        made = form.Form()
        made.look()
        made.size()
        made.advanced()
    way = (by, "Factor") if by in sizes.WAYS else ("Custom", by)
    given = [*way, None, None, 300, *(made.widgets[name].value for name in made.table)]
    with pytest.raises(SettingsError, match="fill in"):
        made.settings(given)


@pytest.mark.parametrize("name", ["/etc/passwd", "../pocket", "stabilityai/sd-turbo", ""])
def test_only_names_of_models_that_are_there_come_through(name: str) -> None:
    for kind in ("gan", "model", "control"):
        with pytest.raises(SettingsError, match="choose one of"):
            choices.checked_model(kind, name)


def test_the_card_of_each_built_in_preset_has_a_sample() -> None:
    cards = looks.cards()["presets"]
    assert [card["name"] for card in cards if not card["sample"].startswith("data:image/webp;base64,")] == []


def test_a_look_is_changed_by_what_it_sets_and_by_nothing_else() -> None:
    art = Settings.of(gan="realesrgan-x4plus-anime", strength=0.17)
    assert not looks.is_changed("photo", Settings.of(scale=2, seed=3, format="webp"))
    assert looks.is_changed("photo", Settings.of(strength=0.3))
    assert not looks.is_changed("art", art)
    assert looks.look_of(art) == "art"
    assert looks.look_of(Settings.of(strength=0.3)) == looks.DEFAULT
    fast = presets.get("fast").over(Settings())
    assert [looks.title_for(fast), looks.title_for(fast.but(steps=30))] == ["Fast", "Fast (changed)"]
    assert looks.is_changed("one that was deleted", Settings())


def test_creativity_says_why_it_does_nothing() -> None:
    assert "without a diffusion model" in looks.why_no_creativity(Settings.of(model="none"))
    assert looks.why_no_creativity(Settings()) == ""
    assert not looks.reads_prompt("pocket")
    assert not looks.reads_prompt("none")
    assert looks.reads_prompt("someone/on-the-hub")


def test_another_way_to_say_the_size_begins_with_the_one_that_is_planned(sessions: Sessions, photo: Path) -> None:
    blocks = build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    page.on_files(request, [str(photo)], *values)
    for way, custom in (("Print", "Factor"), ("Custom", "Pixels"), ("Custom", "Megapixels"), ("8K", "Pixels")):
        shown = page.on_way(request, way, custom, *values[2:])
        planned = sessions.page("page").planned
        assert isinstance(planned, tuple) == (way != "8K"), "a picture of 96x80 has no 8K"
        assert all(shown[page.form.widgets[name]] for name in ("width", "height", "megapixels", "scale"))
        if way != "8K":
            assert planned[0].target.width in range(380, 389)
    blocks.close()


# jobs


def test_jobs_run_one_at_a_time_in_their_order(worker: Worker, photo: Path) -> None:
    order: list[str] = []
    running: list[int] = []

    def note(job: Job) -> None:
        order.append(job.name)

    submitted = [worker.submit(Job(photo, name, SMALL, done=note)) for name in "abc"]
    assert worker.ahead(submitted[2]) == 2
    while not all(job.state.over for job in submitted):
        running.append(sum(job.state is State.RUNNING for job in submitted))
        time.sleep(0.01)
    assert order == ["a", "b", "c"]
    assert max(running) == 1


def test_a_waiting_job_is_taken_out_at_once(worker: Worker, photo: Path) -> None:
    first, second = (worker.submit(Job(photo, name, SMALL)) for name in "ab")
    second.stop()
    assert second.state is State.STOPPED
    assert parts.status(Page(jobs=[second]), worker) == "<b>b</b> was removed from the queue"
    wait(first)
    assert first.state is State.FINISHED
    assert second.started == 0


def test_a_stopped_job_keeps_what_was_finished(worker: Worker, photo: Path) -> None:
    kept: list[Picture | None] = []
    job = worker.submit(Job(photo, "a", SMALL, done=lambda job: kept.append(job.picture)))
    while job.progress is None or job.progress.stage is not Stage.REFINE or job.progress.done < 2:
        time.sleep(0.005)
    job.stop()
    wait(job)
    assert job.state is State.STOPPED
    assert kept[0] is not None
    assert kept[0].size == Size(192, 160)
    assert job.picture is None  # not in memory any more


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Jobs run with a refiner that takes its time; the list gets the moment of each of its steps."""
    moments: list[float] = []

    class Noting(SlowRefiner):
        def __call__(self, tiles: Any, *, on_step: Any, **rest: Any) -> Any:
            def note(step: int, of: int) -> None:
                moments.append(time.monotonic())
                on_step(step, of)

            return super().__call__(tiles, on_step=note, **rest)

    monkeypatch.setattr(jobs, "refiner_for", lambda settings: Noting())
    return moments


def begun(*wanted: Any) -> None:
    """Wait until these hold something."""
    for _ in range(400):
        if all(wanted):
            return
        time.sleep(0.01)
    raise AssertionError(wanted)


def test_a_pause_takes_one_step_and_loses_nothing(worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments, learned, results = steps_of(monkeypatch), list[Any](), list[bytes]()
    monkeypatch.setattr(jobs.timing, "learn", lambda *args: learned.append(args))

    def note(job: Job) -> None:
        assert job.picture is not None
        results.append(job.picture.pixels.tobytes())

    wait(worker.submit(Job(photo, "a", SMALL, done=note)))
    assert len(learned) == 1
    alone = len(moments)
    moments.clear()
    job, other = (worker.submit(Job(photo, name, SMALL, done=note)) for name in "ab")
    begun(moments)
    worker.pause()
    time.sleep(0.3)  # the step at work
    before, clock = len(moments), worker._pause.clock()
    left = job.forecast.left if job.forecast else 0.0
    assert before < alone
    time.sleep(0.5)
    assert len(moments) == before
    assert worker._pause.clock() == clock
    assert job.forecast is not None
    assert job.forecast.left == left
    assert (job.state, other.state) == (State.RUNNING, State.WAITING)
    worker.resume()
    wait(job, other)
    assert len(moments) == 2 * alone
    assert results[0] == results[1] == results[2]
    assert len(learned) == 2  # of the first and the last: what was paused says nothing of the speed
    assert job.elapsed < moments[alone - 1] - moments[0] + 0.3 - 0.5


def test_what_is_paused_can_be_stopped_and_the_next_run_is_not_paused(
    worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.pause()
    assert not worker.paused  # nothing is at work
    moments = steps_of(monkeypatch)
    first, second = (worker.submit(Job(photo, name, SMALL)) for name in "ab")
    begun(moments)
    worker.pause()
    first.stop()
    wait(first)
    time.sleep(0.2)
    assert (first.state, second.state, worker.paused) == (State.STOPPED, State.WAITING, True)
    second.stop()
    for _ in range(100):
        if not worker.paused:
            break
        time.sleep(0.02)
    assert not worker.paused
    wait(worker.submit(Job(photo, "c", SMALL)))


def test_an_app_that_is_paused_ends(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = steps_of(monkeypatch)
    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: NearestUpscaler(scale=2))
    worker = Worker()
    jobs_ = [worker.submit(Job(photo, name, SMALL)) for name in "ab"]
    begun(moments)
    worker.pause()
    worker.close()
    assert [job.state for job in jobs_] == [State.STOPPED] * 2
    assert all(job.left for job in jobs_)


def test_the_page_pauses_and_resumes_and_says_how_long_all_take(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.timing, "estimate", lambda plan, settings: 600.0)
    moments = steps_of(monkeypatch)
    blocks = build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    looked_at, session = sessions.page("page"), sessions.session(None, "page")
    looked_at.follow(session.start([Input.of(photo)] * 3, SMALL))
    begun(moments)
    update = page.on_pause(request)
    assert update[page.pause].value == "Resume"
    status = update[page.status]
    assert re.search(r"</b> Paused · \d+% · about .* left · .* · 2 more waiting, about .* min in all<progress", status)
    queue = update[page.queue]["items"]
    assert [item["text"] for item in queue] == ["Paused", "Waiting", "Waiting"]
    update = page.on_pause(request)
    assert update[page.pause].value == "Pause"
    assert "Paused" not in update[page.status]
    for job in session.jobs:
        job.stop()
    wait(*session.jobs)
    blocks.close()


def test_one_of_many_users_cannot_pause_the_others(worker: Worker) -> None:
    sessions = Sessions(None, worker)
    blocks = build(sessions, local=False)
    page = handlers_of(blocks)
    assert not page.pause.visible
    assert "on_pause" not in [fn.name for fn in blocks.fns.values()]
    sessions.close()


def count_tiles(monkeypatch: pytest.MonkeyPatch, kind: type[IdentityRefiner]) -> list[int]:
    """Jobs run with fakes and are worth keeping from the start; the list gets the number of tiles of each call."""
    calls: list[int] = []

    class Counting(kind):  # type: ignore[misc, valid-type]
        def __call__(self, tiles: Any, **rest: Any) -> Any:
            calls.append(len(tiles))
            return super().__call__(tiles, **rest)

    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: NearestUpscaler(scale=2))
    monkeypatch.setattr(jobs, "refiner_for", lambda settings: Counting())
    monkeypatch.setattr(jobs, "_WORTH_KEEPING", 0.0)
    return calls


def test_what_was_stopped_is_gone_on_with_even_by_another_program(
    monkeypatch: pytest.MonkeyPatch, photo: Path, tmp_path: Path
) -> None:
    calls = count_tiles(monkeypatch, SlowRefiner)
    results: list[bytes] = []

    def note(job: Job) -> None:
        assert job.picture is not None
        results.append(job.picture.pixels.tobytes())

    whole = Worker()
    wait(whole.submit(Job(photo, "a", SMALL, done=note)))
    whole.close()
    alone = sum(calls)
    first = Worker(progress=tmp_path / "progress")
    job = first.submit(Job(photo, "a", SMALL))
    while job.progress is None or job.progress.stage is not Stage.REFINE or job.progress.done < 4:
        time.sleep(0.005)
    job.stop()
    wait(job)
    first.close()
    assert len(list((tmp_path / "progress").iterdir())) == 1
    calls.clear()
    second = Worker(progress=tmp_path / "progress")
    wait(second.submit(Job(photo, "a", SMALL, done=note)))
    second.close()
    assert sum(calls) <= alone - 4
    assert results[1] == results[0]
    assert list((tmp_path / "progress").iterdir()) == []


def test_what_an_app_that_ends_has_not_finished_is_offered_again(
    monkeypatch: pytest.MonkeyPatch, photo: Path, tmp_path: Path
) -> None:
    calls = count_tiles(monkeypatch, SlowRefiner)
    first = Sessions(tmp_path / "history", Worker(progress=tmp_path / "progress"))
    jobs = first.session(None, "page").start([Input.of(photo) for _ in range(3)], SMALL)
    jobs[2].stop()  # by its user
    while not calls:
        time.sleep(0.005)
    first.close()
    second = Sessions(tmp_path / "history", Worker(progress=tmp_path / "progress"))
    try:
        assert [draft.id for draft in second.session(None, "page").drafts.left] == [jobs[0].id, jobs[1].id]
    finally:
        second.close()


_KILLED = """
import os, signal, sys, time
from pathlib import Path
from upscaler_ui.app import drafts, jobs
from upscaler_ui.app.inputs import Input
from upscaler_ui.app.sessions import Sessions
from upscaler.options.settings import Settings
from upscaler.testing import IdentityRefiner, NearestUpscaler

class Fatal(IdentityRefiner):
    calls = 0
    def __call__(self, tiles, **rest):
        Fatal.calls += 1
        time.sleep(0.1)  # the last tile is written while this one is drawn
        if Fatal.calls == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(tiles, **rest)

jobs.upscaler_for = lambda settings: NearestUpscaler(scale=2)
jobs.refiner_for = lambda settings: Fatal()
jobs._WORTH_KEEPING = drafts._EVERY = 0.0
folder = Path(sys.argv[1])
sessions = Sessions(folder / "history", jobs.Worker(progress=folder / "progress"))
settings = Settings.of(scale=2, tile="64", overlap=16, feather=8, seams="none", batch=1)
jobs = sessions.session(None, "page").start([Input.of(Path(name)) for name in sys.argv[2:]], settings)
while not jobs[-1].state.over:
    time.sleep(0.1)
sys.exit(repr([job.error for job in jobs]))
"""


def test_events_with_data_of_their_own_are_neither_dropped_nor_repeated(tmp_path: Path) -> None:
    """While one is answered, Gradio drops the next ("once"), or sends the data of the first again ("always_last")."""
    sessions = Sessions(tmp_path / "history", Worker())
    try:
        handlers = [
            fn for fn in build(sessions).fns.values() if fn.fn and "event" in inspect.signature(fn.fn).parameters
        ]
        assert {"on_paint", "on_mark", "on_choose_preset"} < {fn.name for fn in handlers}
        assert {fn.name for fn in handlers if fn.trigger_mode != "multiple"} == set()
    finally:
        sessions.close()


def test_a_draft_is_known_by_a_small_copy_of_its_picture(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (600, 300), "red").save(tmp_path / "turned.jpg", exif=turned)
    uri = views_module.thumb_uri(tmp_path / "turned.jpg")
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert image.size == (128, 256)
        assert image.getpixel((5, 5)) == pytest.approx((254, 0, 0), abs=3)
    Image.new("I;16", (20, 20)).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    assert [views_module.thumb_uri(tmp_path / name) for name in ("deep.png", "broken.png", "gone.png")] == ["", "", ""]


@pytest.mark.slow
def test_what_a_killed_app_has_left_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, photo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    shutil.copyfile(photo, other)
    command = [sys.executable, "-c", _KILLED, str(tmp_path), str(photo), str(other)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    for path in (photo, other):  # the drafts have pictures of their own
        path.unlink()
    calls = count_tiles(monkeypatch, IdentityRefiner)
    sessions = Sessions(tmp_path / "history", Worker(progress=tmp_path / "progress"))
    second = Sessions(tmp_path / "history", Worker())  # another program, in which they are not offered again
    try:
        session = sessions.session(None, "page")
        items = listing.queue(session)["items"]
        assert [(item["title"], item["state"]) for item in items] == [("my photo", "left"), ("other", "left")]
        assert all(item["thumb"].startswith("data:image/jpeg;base64,") for item in items)
        assert second.session(None, "page").drafts.left == []
        begun, waiting = session.drafts.left
        assert begun.fraction is not None
        assert 0 < begun.fraction < 1
        assert items[0]["text"].startswith(f"{begun.fraction:.0%} finished")
        assert waiting.fraction is None
        page, request = handlers_of(build(sessions)), gradio.Request(session_hash="page")
        press = gradio.EventData(None, {"action": "go on", "id": begun.id})
        page.on_queue(press, request)
        (job,) = session.jobs
        wait(job)
        assert job.state is State.FINISHED, job.error
        tiles = plan(Size(96, 80), SMALL).tiles
        assert tiles is not None
        assert sum(calls) < len(tiles)
        assert [entry.name for entry in session.history.entries()] == ["my photo"]
        page.on_queue(gradio.EventData(None, {"action": "drop", "id": waiting.id}), request)
        assert session.drafts.left == []
        assert not [path for path in session.history.folder.glob(".unfinished/*/*") if path.is_dir()]
        assert list((tmp_path / "progress").iterdir()) == []
    finally:
        sessions.close()
        second.close()


def test_a_failing_job_says_why_and_the_next_one_runs(
    worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Settings) -> Any:
        raise OutOfMemory("a tile of 512x512 does not fit; set tiles.tile to 256")

    monkeypatch.setattr(jobs, "refiner_for", fail)
    bad = worker.submit(Job(photo, "bad", SMALL))
    wait(bad)
    assert bad.state is State.FAILED
    assert failures.cause_and_remedy(bad.error) == (
        "A tile of 512x512 does not fit.",
        'Set "Tile" (Advanced > Tiles) to 256.',
    )
    monkeypatch.setattr(jobs, "refiner_for", lambda settings: IdentityRefiner())
    good = worker.submit(Job(photo, "good", SMALL))
    wait(good)
    assert good.state is State.FINISHED


def test_models_stay_loaded_as_long_as_they_are_the_same(
    worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        jobs, "upscaler_for", lambda settings: loaded.append(settings.gan.model) or NearestUpscaler(scale=2)
    )
    wait(
        *[
            worker.submit(Job(photo, "a", SMALL.but(gan=name)))
            for name in ("realesrgan-x4plus", "realesrgan-x4plus", "realesr-animevideov3")
        ]
    )
    assert loaded == ["realesrgan-x4plus", "realesr-animevideov3"]


# what is kept


def test_history(sessions: Sessions, photo: Path, tmp_path: Path) -> None:
    session = sessions.session(None, "page")
    (job,) = session.start([Input.of(photo)], SMALL)
    wait(job)
    assert job.state is State.FINISHED, job.error
    again = History(session.history.folder)  # as after a restart
    (entry,) = again.entries()
    assert (entry.name, entry.size, entry.complete) == ("my photo", Size(192, 160), True)
    assert entry.result_path.name == "my photo-large.png"
    assert entry.source_path.read_bytes() == photo.read_bytes()
    assert read_settings(entry.result_path) == SMALL.to_dict()
    assert entry.settings == SMALL
    original, after = entry.view("original"), entry.view("after")
    assert original is not None
    assert after is not None
    with Image.open(original) as one, Image.open(after) as other:
        assert (one.size, other.size) == ((96, 80), (192, 160))
    assert convert(entry.result_path, "png", SMALL, tmp_path) == entry.result_path
    with Image.open(convert(entry.result_path, "webp", SMALL, tmp_path)) as other:
        assert other.format == "WEBP"
    assert [path.name for path in session.history.folder.glob(".*")] in ([], [".unfinished"])
    assert not [path for path in session.history.folder.glob(".unfinished/*/*") if path.is_dir()]
    again.remove("../../etc")
    again.remove(entry.id)
    assert again.entries() == []


def test_a_deleted_result_comes_back_until_the_next_one_is_deleted(sessions: Sessions, photo: Path) -> None:
    session, blocks = sessions.session(None, "page"), build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    jobs = session.start([Input.of(photo), Input.of(photo)], SMALL.but(model="none"))
    wait(*jobs)

    def act(action: str, id: str = "", **more: str) -> dict[str, Any]:
        return page.on_history(gradio.EventData(None, {"action": action, "id": id, **more}), request, *values)

    first, second = (job.id for job in jobs)
    assert act("remove", first)[page.history]["undo"]["title"] == "my photo"
    assert [entry.id for entry in session.history.entries()] == [second]
    assert act("undo", first)[page.history]["undo"] is None
    assert {entry.id for entry in session.history.entries()} == {first, second}
    act("remove", first)
    act("remove", second)
    assert not session.history.restore(first), "only the last one"
    assert not session.history.restore("../../etc")
    act("undo", second)
    assert [entry.id for entry in session.history.entries()] == [second]
    shown = act("zip")[page.archive]
    with zipfile.ZipFile(shown.value["path"]) as stream:
        assert stream.namelist() == ["my photo-large.png"]
    blocks.close()


def test_results_are_filtered_and_older_ones_are_reached(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_handlers_module, "LISTED", 2)
    session, blocks = sessions.session(None, "page"), build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    wait(*session.start([Input.of(photo)] * 3, SMALL.but(model="none")))

    def act(action: str, **more: str) -> dict[str, Any]:
        return page.on_history(gradio.EventData(None, {"action": action, "id": "", **more}), request, *values)[
            page.history
        ]

    assert len(act("filter", text="PHOTO")["items"]) == 2
    assert act("more")["more"] is False
    assert len(sessions.page("page").sent["history"]["items"]) == 3
    nothing = act("filter", text="sea")
    assert nothing["items"] == []
    assert "'sea'" in nothing["empty"]
    assert "my photo" in act("filter", text="")["items"][0]["title"]
    assert re.search(r"192x160\n\d+ \w+, \d\d:\d\d · \d+ kB", act("filter", text="192x160 photo")["items"][0]["text"])
    blocks.close()


def test_nothing_is_kept_of_a_run_that_is_stopped_while_it_enlarges(sessions: Sessions, photo: Path) -> None:
    session = sessions.session(None, "page")
    page = Page()
    (job,) = session.start([Input.of(photo)], SMALL)
    page.follow([job])
    job.note(Progress(stage=Stage.ENLARGE, done=0, total=1))
    assert not job.worth_keeping
    job.note(Progress(stage=Stage.REFINE, done=0, total=9))
    assert job.worth_keeping
    job.stop()
    wait(job)
    stopped = Job(
        photo, "a", SMALL, state=State.STOPPED, started=1.0, progress=Progress(stage=Stage.ENLARGE, done=0, total=1)
    )
    page.jobs = [stopped]
    assert "was stopped; nothing to keep" in parts.status(page, sessions.worker)


def test_a_large_result_is_shown_in_pieces(tmp_path: Path) -> None:
    height, width = 3000, 6000
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None].repeat(height, 0).repeat(3, 2)
    views_module.write_views(tmp_path, Picture(ramp), Picture(ramp[:30, ::100]))
    assert views_module.levels_of(Size(width, height)) == 4
    for level, (columns, rows) in enumerate(((6, 3), (3, 2), (2, 1), (1, 1))):
        names = {path.name for path in (tmp_path / "tiles" / str(level)).iterdir()}
        assert names == {f"{x}_{y}.jpg" for x in range(columns) for y in range(rows)}
    with (
        Image.open(tmp_path / "tiles" / "0" / "5_2.jpg") as corner,
        Image.open(tmp_path / "tiles" / "3" / "0_0.jpg") as all_of_it,
    ):
        assert corner.size == (6000 - 5 * 1024, 3000 - 2 * 1024)
        assert all_of_it.size == (750, 375)
        assert np.asarray(corner).min() > 255 * 0.84
        assert abs(np.asarray(all_of_it)[:, 375].mean() - 127) < 2
    assert not list(tmp_path.glob("after.*"))


def test_looking_at_an_area_again_enlarges_nothing_again(
    worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    class Counting(NearestUpscaler):
        def __call__(self, image: Any, **rest: Any) -> Any:
            calls.append(image.shape)
            return super().__call__(image, **rest)

    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: Counting(scale=2))
    region = Box(0, 0, 40, 40)
    first = worker.submit(Job(photo, "a", SMALL, region=region))
    wait(first)
    once = len(calls)
    assert once
    again = worker.submit(Job(photo, "a", SMALL.but(strength=0.4), region=region))
    wait(again)
    assert again.state is State.FINISHED, again.error
    assert len(calls) == once
    wait(worker.submit(Job(photo, "a", SMALL.but(gan="realesr-animevideov3"), region=region)))
    assert len(calls) == 2 * once, "another network"


def test_an_area_runs_fewer_tiles_than_the_whole(sessions: Sessions, photo: Path) -> None:
    blocks = build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    page.on_files(request, [str(photo)], *values)
    updates = page.form.updates(SMALL.but(scale=16))
    values = [updates.get(field, field.value) for field in page.form.fields]
    looks_at = sessions.page("page")
    shown = page.on_plan(request, *values)
    assert str(shown[page.preview].value).startswith("Preview the centre, about ")
    marked = page.on_mark(gradio.EventData(None, {"region": [0, 0, 0.1, 0.1]}), request)
    assert str(marked[page.preview].value).startswith("Preview area, about ")
    page.on_preview(request, *values)
    (job,) = looks_at.jobs
    wait(job)
    assert job.state is State.FINISHED, job.error
    assert job.plan is not None
    assert isinstance(looks_at.planned, tuple)
    assert len(job.plan.tiles or ()) < len(looks_at.planned[0].tiles or ()) / 4
    assert job.shown is not None
    viewer = page.changes(sessions.session(None, "page"), looks_at)[page.viewer]
    assert viewer["size"] == list(job.region.size if job.region else ())
    blocks.close()


def test_a_damaged_history_is_no_reason_to_fail(tmp_path: Path) -> None:
    for number, text in enumerate(("", "[]", '{"name": 3}', "{" * 9999)):
        folder = tmp_path / f"{number:032x}"
        folder.mkdir()
        (folder / "entry.json").write_text(text)
    assert History(tmp_path).entries() == []


def test_what_the_format_cannot_hold_is_refused_before_the_run_and_not_lost_after_it(
    sessions: Sessions, photo: Path
) -> None:
    settings = SMALL.but(format="jpeg", bit_depth=16)
    with pytest.raises(ImageError, match="8 bits"):
        check_result(Size(192, 160), settings)
    with pytest.raises(ImageError, match="too large for WEBP"):
        check_result(Size(20000, 20), SMALL.but(format="webp"))
    session = sessions.session(None, "page")
    (job,) = session.start([Input.of(photo)], settings)
    wait(job)
    (entry,) = session.history.entries()
    assert entry.result_path.suffix == ".png"
    assert any("saved as PNG" in notice for notice in entry.notices)
    assert load(entry.result_path).depth == 16


def test_a_disk_that_is_full_fails_and_leaves_nothing(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results_module, "save", full)
    session = sessions.session(None, "page")
    (job,) = session.start([Input.of(photo)], SMALL)
    wait(job)
    assert job.state is State.FAILED
    assert "No space left" in str(job.error)
    assert [path.name for path in session.history.folder.iterdir()] in ([], [".unfinished"])


def write_no_entry(path: Path, *arguments: Any) -> int:
    raise OSError(28, "No space left on device")


def no_memory(*_: Any) -> None:
    raise MemoryError("cannot allocate 3 GB")


def test_a_finished_result_stays_whatever_fails_after_it(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, blocks = sessions.session(None, "page"), build(sessions)
    page = handlers_of(blocks)
    with monkeypatch.context() as patch:
        patch.setattr(history_module, "write_views", no_memory)
        (job,) = session.start([Input.of(photo)], SMALL)
        wait(job)
    assert job.state is State.FINISHED, job.error
    (entry,) = session.history.entries()
    assert load(entry.result_path).size == Size(192, 160)
    assert any("cannot allocate" in notice for notice in entry.notices)
    looks = sessions.page("page")
    looks.shown = entry.id
    shown = page.changes(session, looks)  # the page shows it, without its small copies
    assert shown[page.viewer]["after"] is None
    assert entry.result in str(shown[page.download].value)
    blocks.close()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_no_entry)
        (job,) = session.start([Input.of(photo)], SMALL)
        wait(job)
    assert job.state is State.FAILED
    assert "is saved in the folder" in str(job.error)
    assert load(session.history.folder / job.id / "my photo-large.png").size == Size(192, 160)


@pytest.fixture
def as_if_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each picture count as a million times as large, so that a small one is above the usual limit."""
    check = files_module._check_input
    monkeypatch.setattr(
        files_module, "_check_input", lambda name, width, height, most: check(name, 1000 * width, 1000 * height, most)
    )


@pytest.mark.usefixtures("as_if_large")
def test_a_picture_above_the_usual_limit_runs_and_is_kept_once_its_user_raises_the_limit(
    sessions: Sessions, photo: Path
) -> None:
    session, blocks = sessions.session(None, "page"), build(sessions)
    page = handlers_of(blocks)
    request = gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    refused = page.on_files(request, [str(photo)], *values)
    assert "Raise &quot;Largest input&quot; (Advanced &gt; File) to 7680." in refused[page.message]
    raised = SMALL.but(max_pixels=7680)
    updates = page.form.updates(raised)
    values = [updates.get(field, field.value) for field in page.form.fields]
    assert "96x80" in page.on_plan(request, *values)[page.facts]
    page.on_run(request, *values)
    wait(*session.jobs)
    assert [job.state for job in sessions.page("page").jobs] == [State.FINISHED], session.jobs
    (entry,) = session.history.entries()
    assert entry.size == Size(192, 160)
    preview = session.preview(sessions.page("page").readable[0], raised, Box(0, 0, 64, 64))
    wait(preview)
    assert preview.state is State.FINISHED, preview.error
    blocks.close()


def test_the_original_may_go_while_the_job_waits_or_runs(sessions: Sessions, photo: Path) -> None:
    session = sessions.session(None, "page")
    bytes_of_it = photo.read_bytes()
    jobs = session.start([Input.of(photo)] * 3, SMALL)
    photo.unlink()
    jobs[2].stop()
    wait(*jobs)
    assert [job.state for job in jobs] == [State.FINISHED, State.FINISHED, State.STOPPED]
    assert [entry.source_path.read_bytes() for entry in session.history.entries()] == [bytes_of_it] * 2
    sessions.worker.close()
    assert not list(session.history.folder.glob(".unfinished/*/*/*"))
    with pytest.raises(ImageError, match="no longer there"):
        session.start([Input(photo, "gone")], SMALL)


def test_a_job_that_failed_leaves_the_queue_and_its_part_the_history(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(SlowRefiner):
        def __call__(self, tiles: Any, **rest: Any) -> Any:
            raise OutOfMemory("a tile does not fit; choose a smaller one")

    monkeypatch.setattr(jobs, "refiner_for", lambda settings: Failing())
    session = sessions.session(None, "page")
    (job,) = session.start([Input.of(photo)], SMALL)
    wait(job)
    assert job.state is State.FAILED
    (entry,) = session.history.entries()  # what was enlarged before
    blocks = build(sessions)
    page = handlers_of(blocks)
    request = gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]

    def event(action: str) -> Any:
        return gradio.EventData(None, {"action": action, "id": job.id})

    page.on_history(event("show"), request, *values)
    assert sessions.page("page").shown == entry.id
    assert "does not fit" in page.on_queue(event("show"), request)[page.message]
    page.on_history(event("remove"), request, *values)
    assert session.history.entries() == []
    page.on_queue(event("remove"), request)
    assert session.jobs == []
    assert set(page.on_queue(event("stop"), request)) == {page.timer}  # a job that is gone: nothing happens
    blocks.close()


def test_a_result_is_shown_again_after_a_preview(sessions: Sessions, photo: Path) -> None:
    session, blocks = sessions.session(None, "page"), build(sessions)
    page = handlers_of(blocks)
    looks = sessions.page("page")
    looks.follow(session.start([Input.of(photo)], SMALL))
    wait(*looks.jobs)
    result = page.changes(session, looks)[page.viewer]
    assert result["after"]["src"].endswith("after.jpg")
    looks.follow([session.preview(Input.of(photo), SMALL, Box(0, 0, 64, 64))])
    page.changes(session, looks)
    looks.shown = session.history.entries()[0].id  # looked at in the meantime
    wait(*looks.jobs)
    part = page.changes(session, looks)[page.viewer]
    assert part["size"] == [64, 64]
    assert part["after"]["src"].startswith("data:image/jpeg")
    assert looks.shown is None  # so that what can be downloaded is never another picture
    looks.shown = session.history.entries()[0].id
    assert page.changes(session, looks)[page.viewer] == result
    blocks.close()


def test_the_results_of_a_page_without_a_login_go_with_it(
    worker: Worker, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "KEPT_PAGES", 1)
    public = Sessions(None, worker)
    public.page("one")
    session = public.session(None, "one")
    wait(*session.start([Input.of(photo)], SMALL))
    assert session.history.folder.is_dir()
    public.page("two")
    assert not session.history.folder.exists()
    assert public.session(None, "one") is not session
    public.close()


def test_each_user_has_a_desk_and_each_page_is_its_own(worker: Worker, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "history", worker)
    assert sessions.session("ann", "1") is sessions.session("ann", "2")
    assert sessions.session("ann", "1") is not sessions.session("bob", "1")
    assert sessions.page("1") is sessions.page("1") is not sessions.page("2")
    public = Sessions(None, worker)
    assert public.session(None, "1") is not public.session(None, "2")
    assert not str(public.session(None, "1").history.folder).startswith(str(tmp_path / "history"))
    for used in (sessions, public):
        used.close()


@pytest.mark.parametrize(
    ("name", "clean"),
    [("../../etc/passwd", "_.._etc_passwd"), ("a:b*?", "a_b_"), ("", "picture"), ("é…", "é…"), ("x" * 300, "x" * 100)],
)
def test_names_of_files(name: str, clean: str) -> None:
    assert file_name(name) == clean


def test_an_output_of_ours_brings_its_settings(photo: Path, tmp_path: Path) -> None:
    save(load(photo), tmp_path / "made.png", settings_json=SMALL.to_json())
    assert Input.of(tmp_path / "made.png").settings == SMALL
    assert Input.of(photo).settings is None
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert Input.of(broken).error is not None


# pictures


def test_the_growing_canvas_shows_what_is_there(photograph: Any) -> None:
    picture = Picture(photograph)
    view = LiveView()
    view.start(picture, Size(2048, 2048))
    first = view.uri()
    assert view.uri() is first  # encoded once
    canvas = np.zeros((2048, 2048, 3), np.float32)
    live = Picture(canvas)
    view.show(Progress(stage=Stage.REFINE, done=0, total=4, boxes=(Box(0, 0, 1024, 1024),), picture=live))
    canvas[:1024, 1024:] = 1
    view.show(Progress(stage=Stage.REFINE, done=1, total=4, boxes=(Box(1024, 0, 2048, 1024),), picture=live))
    shown = np.asarray(view._image)
    assert shown.shape == (1024, 1024, 3)
    assert shown[:512, 512:].min() == 255
    assert shown[512:].max() == 0
    assert view.boxes == [[1024, 0, 2048, 1024]]
    view.show(Progress(stage=Stage.REFINE, done=4, total=4, boxes=(Box(0, 0, 8, 8),), picture=live))
    assert view.boxes == []


def test_a_crop_is_that_part_of_the_whole_enlargement(photograph: Any) -> None:
    size, box = Size(1300, 1111), Box(411, 37, 700, 345)
    whole = np.clip(resample(photograph, size), 0, 1)[box.slices] * 255
    found = np.asarray(enlarged_part(views_module.whole(Picture(photograph)), size, box)).astype(float)
    assert np.abs(found - whole).max() < 2.5  # Pillow rounds between the axes
    assert np.abs(found - whole).mean() < 0.4


def test_small_copies_keep_the_shape_and_the_tone(photograph: Any) -> None:
    small = np.asarray(reduced(Picture(photograph), 64)).astype(float)
    assert small.shape == (64, 64, 3)
    assert abs(small.mean() - photograph.mean() * 255) < 1


# words


def test_messages_carry_no_private_paths() -> None:
    home = str(Path.home())
    for text in (
        f"{home}/pictures/a.png: damaged; save it again",
        "/tmp/gradio/0a1b/a.png: damaged; save it again",
        r"C:\Users\ann\a.png: damaged; save it again",
    ):
        cause, remedy = failures.cause_and_remedy(UpscalerError(text))
        assert "a.png: damaged." in cause
        assert not any(word in cause for word in ("gradio", "Users", "pictures", home))
        assert remedy == "Save it again."
    try:
        raise ValueError("wrong")
    except ValueError as error:
        told = failures.report(error, Settings.of(prompt="my secret"))
    assert "ValueError: wrong" in told
    assert '"strength": 0.25' in told
    assert "my secret" not in told
    assert str(Path(__file__).parent) not in told


@pytest.mark.parametrize("region", [None, [], [0, 0, 1], [1, 1, 0, 0], ["a", 0, 1, 1], {"left": 0}])
def test_an_area_that_is_none(region: Any) -> None:
    assert parts.fractions(region) is None


def test_the_first_picture_that_can_be_read_is_shown(sessions: Sessions, photo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    blocks = build(sessions)
    page, request = handlers_of(blocks), gradio.Request(session_hash="page")
    values = [field.value for field in page.form.fields]
    update = page.on_files(request, [str(broken), str(photo)], *values)
    assert update[page.viewer]["after"]["src"].startswith("data:image/")
    assert "96x80" in update[page.facts]
    assert "broken.png" in update[page.message]

    page.on_files(request, [str(broken)], *values)
    assert "broken.png" in page.on_run(request, *values)[page.message]
    page.on_files(request, [], *values)
    assert "There is no picture" in page.on_run(request, *values)[page.message]


def test_nothing_of_the_page_is_told_twice(sessions: Sessions, photo: Path) -> None:
    page = Page()
    assert page.send("status", "a")
    assert not page.send("status", "a")
    assert page.send("status", "b")


def test_the_page_builds_for_a_public_server_too(worker: Worker) -> None:
    public = Sessions(None, worker)
    blocks = build(public, local=False)
    named = {function.api_name for function in blocks.fns.values() if function.api_visibility == "public"}
    assert named == {"upscale", "plan", "list_models", "cancel"}
    public.close()


# the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen"], "--auth USER:PASSWORD"),
        (["--listen", "--auth", "ann"], "give USER:PASSWORD"),
        (["--listen", "--auth", ":x"], "give USER:PASSWORD"),
    ],
)
def test_the_app_does_not_listen_to_everybody_by_mistake(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from upscaler.cli import main

    assert main(["ui", "--no-browser", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_inverted_tile_is_what_the_history_holds(
    sessions: Sessions, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the app writes is what the engine made: the same pixels as a run without the app."""
    from upscaler.api import run
    from upscaler.events import Finished

    monkeypatch.setattr(jobs, "refiner_for", lambda settings: InvertRefiner())
    settings = SMALL.but(wavelet_color=0, wavelet_denoise=0, consistency=0, dither=False)
    session = sessions.session(None, "page")
    (job,) = session.start([Input.of(photo)], settings)
    wait(job)
    *_, last = run(photo, settings, upscaler=NearestUpscaler(scale=2), refiner=InvertRefiner())
    assert isinstance(last, Finished)
    expected = to_pil(last.picture, dither=False)
    (entry,) = session.history.entries()
    with Image.open(entry.result_path) as made:
        assert np.array_equal(np.asarray(made), np.asarray(expected))
