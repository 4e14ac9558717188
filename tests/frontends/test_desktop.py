"""The desktop window, as a person uses it: a real window on a screen of its own, with the bundled weights."""

from __future__ import annotations

import importlib.util
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from PIL import Image, ImageGrab

from .window import ROOT, Desktop, missing_tools, screen, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing_tools()), reason=f"not on this machine: {missing_tools()}; apt install xvfb openbox xdotool"
    ),
    pytest.mark.skipif(importlib.util.find_spec("PySide6") is None, reason="no Qt; install the extra desktop"),
]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    with screen() as name:
        yield name


@pytest.fixture
def desktop(display: str, tmp_path: Path) -> Iterator[Desktop]:
    found = Desktop(tmp_path, display)
    yield found
    found.end()


def picture(path: Path, side: int = 48) -> Path:
    """A square from the bundled photograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(ROOT / "examples" / "photo.png") as photo:
        photo.convert("RGB").crop((200, 200, 200 + side, 200 + side)).save(path)
    return path


def fast(desktop: Desktop) -> None:
    desktop.press("[data-preset=fast]")
    desktop.wait_for("!!document.querySelector('[data-preset=fast][aria-checked=true]')", "the preset")


def status(url: str, path: str) -> int:
    try:
        with urllib.request.urlopen(url + path, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_pictures_are_opened_and_saved_where_they_lie(desktop: Desktop) -> None:
    first, second = picture(desktop.home / "in" / "first é.png"), picture(desktop.home / "in" / "second.png")
    desktop.start(first)
    desktop.chosen(first.name)

    url = desktop.script("location.origin")
    inner = desktop.script("document.querySelector('script[type=module]').src").removeprefix(url)
    for path in ("/", "/config", "/gradio_api/info", "/health", inner, "/?ticket=wrong", f"/gradio_api/file={second}"):
        assert status(url, path) == 403, path
    assert desktop.script("document.cookie") == ""  # scripts cannot read it
    assert "ticket" not in desktop.script("location.href")

    fast(desktop)
    desktop.run()
    large = until(lambda: next(first.parent.glob("first é-x4.png"), None), "the result")
    with Image.open(large) as result:
        assert result.size == (192, 192)
    desktop.wait_for("document.querySelector('#saved').innerText.includes('Saved as first é-x4.png')", "the line")
    before = large.read_bytes()

    later = desktop.command(second)  # hands it over to the window that there is
    assert later.wait(20) == 0
    later.communicate()
    desktop.chosen(second.name)
    later = desktop.command(first)
    assert later.wait(20) == 0
    later.communicate()
    desktop.chosen(first.name)
    desktop.run()
    until((first.parent / "first é-x4-2.png").is_file, "a name of its own")
    assert large.read_bytes() == before

    desktop.wait_for("document.querySelector('#saved').innerText.includes('first é-x4-2.png')", "the second line")
    desktop.press("#saved [data-call=saveAs]")
    desktop.dialog("Save the result as")
    target = desktop.home / "copy.jpg"
    desktop.keys("ctrl+a")
    desktop.type(str(target))
    desktop.keys("Return")
    until(target.is_file, "the copy")
    with Image.open(target) as result:
        assert (result.format, result.size) == ("JPEG", (192, 192))

    desktop.press("#bar [data-call=open]")
    desktop.dialog("Open pictures")
    desktop.type(str(second))
    desktop.keys("Return")
    desktop.chosen(second.name)

    desktop.close()
    assert desktop.ended() == 0
    assert not desktop.queue


def test_closing_during_a_run_asks_and_keeps_what_there_is(desktop: Desktop) -> None:
    source = picture(desktop.home / "in" / "long.png", 192)
    desktop.start(source)
    desktop.chosen(source.name)
    desktop.press("[data-preset=photo]")
    desktop.run()
    desktop.press("button#stop")
    until(lambda: desktop.title() == "upscaler", "the end of the job that was stopped")
    assert not desktop.queue
    assert not list(source.parent.glob("*-x4*"))  # nothing that is not finished

    desktop.run()
    desktop.close()
    desktop.dialog("Close upscaler")
    desktop.keys("Escape")  # cancel
    until(lambda: "%" in desktop.title(), "the window, at work")

    desktop.keys("ctrl+shift+p")
    until(lambda: desktop.title().startswith("Paused - "), "the pause")
    desktop.wait_for("document.querySelector('#pause').innerText === 'Resume'", "the button")
    desktop.wait_for("/Paused · \\d+%/.test(document.querySelector('#status').innerText)", "the line")
    desktop.close()
    desktop.dialog("Close upscaler")
    desktop.keys("Escape")  # cancel
    desktop.dialog("Paused.*upscaler")  # the window
    desktop.keys("ctrl+shift+p")
    until(lambda: "%" in desktop.title() and "Paused" not in desktop.title(), "the window, at work again")

    desktop.server().send_signal(signal.SIGKILL)
    desktop.dialog("Something went wrong")
    assert len(desktop.queue) == 1
    desktop.keys("Return")  # start again
    until(lambda: "%" in desktop.title(), "the queue as it was")

    desktop.close()
    desktop.dialog("Close upscaler")
    desktop.keys("alt+s")  # stop, and keep what is finished
    assert desktop.ended() == 0
    assert len(desktop.queue) == 1

    desktop.start()
    desktop.dialog("Unfinished pictures")
    desktop.keys("Return")  # go on with what was left
    until(lambda: "%" in desktop.title(), "what was left, at work")
    desktop.close()
    desktop.dialog("Close upscaler")
    desktop.keys("alt+k")  # keep running in the background
    until(lambda: not desktop.title(), "no window")
    assert desktop.ended(120) == 0
    assert (source.parent / "long-x4.png").is_file()
    assert not desktop.queue


def test_a_folder_is_watched_in_a_look_also_at_the_next_start(desktop: Desktop) -> None:
    inbox = desktop.home / "inbox"
    inbox.mkdir()
    desktop.start()
    desktop.keys("alt+f", "l")
    desktop.dialog("Watch a folder")  # which folder
    desktop.type(str(inbox))
    desktop.keys("Return")
    desktop.dialog("Watch inbox")  # in which look
    desktop.keys("End", "Return")  # the last one: Fast
    says = "document.querySelector('#bar .more').textContent === 'What lands in ~/inbox is enlarged in the look Fast.'"
    desktop.wait_for(says, "what is watched")
    picture(inbox / "one.png")
    until((inbox / "one-x4.png").is_file, "the result")
    until(lambda: desktop.title() == "upscaler", "the end of the job")
    desktop.close()
    assert desktop.ended() == 0

    picture(inbox / "two.png")
    desktop.start()
    desktop.wait_for(says, "what is still watched")
    until((inbox / "two-x4.png").is_file, "what has come in between")
    assert len(list(inbox.iterdir())) == 4


def test_without_a_screen_there_is_one_line_and_the_browser(desktop: Desktop) -> None:
    source = picture(desktop.home / "in" / "photo.png")
    opened = desktop.home / "opened.txt"
    browser = desktop.home / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    process = desktop.command(source, DISPLAY="", WAYLAND_DISPLAY="", BROWSER=str(browser))
    try:
        address = until(lambda: opened.is_file() and opened.read_text().strip(), "the browser", 90)
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert visitor.open(address, timeout=10).status == 200
        home = address.split("?")[0]
        assert visitor.open(home, timeout=10).status == 200
        assert status(home, "config") == 403
        assert status(address, "") == 403  # the ticket was good for one visit
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    lines = said.splitlines()
    assert lines[0] == (
        "upscaler: cannot open a window (there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set); "
        "opening the browser instead"
    )
    assert len(lines) == 2
    assert process.returncode == 0


def test_a_screen_that_does_not_answer_is_one_line_too(desktop: Desktop) -> None:
    process = desktop.command(DISPLAY=":1234", BROWSER="true")
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert re.fullmatch(r"upscaler: cannot open a window \(the screen that .* cannot be used\); opening .*\n", line)


def test_a_dark_window_never_flashes_white(desktop: Desktop) -> None:
    desktop.state.mkdir(parents=True)
    (desktop.state / "desktop.ini").write_text("[General]\ntheme=dark\n")
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(ImageGrab.grab(xdisplay=desktop.display).convert("L").getpixel((1100, 600)))  # behind the page

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        desktop.start()
    finally:
        over.set()
        watcher.join()
    assert max(seen) < 60
    assert desktop.script("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_nothing_lies_below_the_edge_of_a_small_screen(desktop: Desktop) -> None:
    fits = "[document.documentElement, document.querySelector('#left')].every(e => e.scrollHeight <= e.clientHeight)"
    stands_out = "[...document.querySelectorAll('#run, [data-call=open]')].filter(b => getComputedStyle(b).backgroundColor === 'rgb(79, 70, 229)').map(b => b.innerText).join() === '{}'"
    source = picture(desktop.home / "in" / "photo.png")
    desktop.start()
    desktop.wait_for("document.querySelector('#plan').innerText.includes('Choose a picture')", "the start")
    assert desktop.script(fits)
    desktop.wait_for(stands_out.format("Open…"), "the eye that is led to Open")
    desktop.command(source).communicate()
    desktop.chosen(source.name)
    assert desktop.script(fits)
    desktop.wait_for(stands_out.format("Upscale"), "the eye that is led to Upscale")

    desktop.press("#advanced > button")  # what opens below the edge is scrolled to, and Upscale stays
    seen = "(e => e && e.getBoundingClientRect().bottom < innerHeight && e.getBoundingClientRect().top > 0)(document.querySelector('{}'))"
    desktop.wait_for(seen.format("#more-models"), "the models under Advanced")
    assert desktop.script(seen.format("#run"))

    large = desktop.home / "in" / "large.png"
    Image.new("RGB", (9000, 9000)).save(large)
    desktop.command(large).communicate()
    desktop.wait_for("document.querySelector('#bar').innerText.includes('Opening…')", "a word while it is read")
    desktop.chosen(large.name)
    assert not desktop.script("document.querySelector('#bar').innerText.includes('Opening…')")

    desktop.keys("alt+v", "Return")
    desktop.wait_for("!!document.querySelector('#models-page')?.offsetHeight", "the page of models")
    desktop.keys("Escape")
    desktop.wait_for("!document.querySelector('#models-page').offsetHeight", "the picture again")
