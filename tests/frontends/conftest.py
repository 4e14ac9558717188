"""The app as a process of its own, and a real browser in front of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

ROOT = Path(__file__).parents[2]
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def run_apart(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it to its end in a thread: this one may have the loop of a browser already."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


@dataclass(frozen=True)
class App:
    """The app at work.

    Attributes:
        url: its address.
        data: the folder that its history and presets are in.
    """

    url: str
    data: Path


@contextmanager
def running_app(data: Path, *arguments: str) -> Generator[App, None, None]:
    """The app, started by its command, until the context ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "XDG_DATA_HOME": str(data),
        "XDG_STATE_HOME": str(data / "state"),
        "GRADIO_TEMP_DIR": str(data / "gradio"),
    }
    command = [sys.executable, "-m", "upscaler", "ui", "--no-browser", "--port", str(port), *arguments]
    log = data / "app.log"
    data.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise AssertionError(f"the app ended:\n{log.read_text()}")
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield App(url, data)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for all tests, with a history of its own."""
    with running_app(tmp_path_factory.mktemp("app")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium from the system."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next((found for name in _CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(
            "no Chromium on this machine; install the package chromium to run the tests of the app in a browser"
        )
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any, app: App) -> Iterator[Callable[..., Any]]:
    """A function that opens the app in a page of its own; what a page asks of other machines, or fails at, is an error."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def note_request(request: Any) -> None:
        if _elsewhere(request.url):
            wrong.append(request.url)

    def note_error(error: Any) -> None:
        wrong.append(str(error))

    def note_answer(answer: Any) -> None:
        if answer.status >= 500:
            wrong.append(f"{answer.status} {answer.url}")

    def open_page(url: str = app.url, width: int = 1440, height: int = 1000, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", note_request)
        page.on("pageerror", note_error)
        page.on("response", note_answer)
        page.goto(url)
        page.wait_for_selector("#run")
        page.wait_for_selector("#viewer .nothing")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def _elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "data:", "blob:"))


@pytest.fixture(scope="session")
def small_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the bundled photograph, 160x128, with a colour profile, an author and a place."""
    path = tmp_path_factory.mktemp("photo") / "hills.png"
    with Image.open(ROOT / "examples" / "photo.png") as photo:
        exif = Image.Exif()
        exif[0x013B] = "A. Author"
        exif.get_ifd(0x8825)[1] = "N"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        photo.convert("RGB").crop((180, 230, 340, 358)).save(path, icc_profile=profile, exif=exif)
    return path
