"""The app as a server: who gets in, what is kept, and what a caller that has gone leaves behind."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upscaler_ui.app.exchange import Exchange, new_result, results_in
from upscaler_ui.app.guard import Guard
from upscaler_ui.app.jobs import Worker
from upscaler_ui.app.sessions import Sessions

import upscaler

from .conftest import App, run_apart, running_app

HOME = "127.0.0.1:7860"


def answer(guard: Guard, *, path: str = "/", kind: str = "http", **headers: str) -> tuple[int, Any]:
    """Status and content of what the guard answers; 200 and None where it lets a request pass."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    run_apart(guard({"type": kind, "path": path, "method": "POST", "headers": named}, None, send))
    if not sent:
        return 200, None
    return sent[0].get("status", sent[0].get("code")), json.loads(sent[1]["body"]) if len(sent) > 1 else None


@pytest.fixture
def guard() -> Guard:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    return Guard(app, hosts=["pictures.example"], health=lambda: {"status": "ok", "running": 0, "waiting": 0})


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HOME},
        {"host": "localhost:7860", "origin": "http://localhost:7860"},
        {"host": "[::1]:7860", "origin": "http://[::1]:7860"},
        {"host": "192.168.1.5:7860", "origin": "http://192.168.1.5:7860", "sec_fetch_site": "same-origin"},
        {"host": f"{socket.gethostname()}:7860"},
        {"host": "Pictures.Example", "origin": "https://pictures.example"},
        {"host": HOME, "origin": "https://pictures.example"},  # a proxy that gives its own address
        {"host": HOME, "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"},  # a link to the app
    ],
)
def test_who_gets_in(guard: Guard, headers: dict[str, str]) -> None:
    assert answer(guard, **headers) == (200, None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "evil.example:7860"},
        {"host": "evil.example:7860", "origin": "http://evil.example:7860"},  # a name bound to this address
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "[::1"},
        {"host": HOME, "origin": "https://evil.example"},
        {"host": HOME, "origin": "null"},
        {"host": HOME, "origin": "http://localhost:3000"},
        {"host": "localhost:7860", "origin": "http://localhost:3000"},
        {"host": HOME, "origin": "http://127.0.0.1:3000"},
        {"host": HOME, "sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
    ],
)
def test_who_does_not(guard: Guard, headers: dict[str, str]) -> None:
    for path in ("/", "/gradio_api/upload", "/health"):
        status, content = answer(guard, path=path, **headers)
        assert status == 403
        assert len(content["error"].splitlines()) == 1
    assert answer(guard, kind="websocket", **headers)[0] == 1008


def test_health(guard: Guard, tmp_path: Path) -> None:
    status, content = answer(guard, path="/health", host=HOME)
    assert (status, content["status"], content["version"]) == (200, "ok", upscaler.__version__)
    sessions = Sessions(tmp_path, Worker())
    assert sessions.health() == {"status": "ok", "running": 0, "waiting": 0}
    sessions.close()
    assert sessions.health()["status"] == "broken"


def test_what_was_exchanged_goes_after_a_time(tmp_path: Path) -> None:
    shown: set[Path] = set()
    exchange = Exchange(tmp_path, lambda: shown)
    result = new_result(tmp_path) / "large.png"
    sent, on_show = (exchange.folder / name / "a.png" for name in ("one", "two"))
    for path in (result, sent, on_show):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    shown.add(on_show)
    now = time.time()
    exchange.sweep(now + 590)
    assert result.exists()
    exchange.sweep(now + 610)
    assert not result.exists()
    assert sent.exists()
    exchange.sweep(now + 90_000)
    assert not sent.exists()
    assert on_show.exists()
    for path in (result, sent):
        os.utime(path.parent, (now, now)) if path.parent.exists() else None
    exchange.sweep(now + 90_000)
    assert sorted(os.listdir(exchange.folder)) == ["results", "two"]
    assert results_in(tmp_path).is_dir()
    exchange.let_go(on_show)
    assert on_show.exists()
    shown.clear()
    exchange.let_go(on_show)
    exchange.let_go(Path(__file__))
    assert not on_show.parent.exists()
    assert Path(__file__).exists()


def test_an_id_is_taken_once(tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, lambda: ())
    assert exchange.take_id("a")
    assert not exchange.take_id("a")
    assert exchange.take_id("b")


def test_callers_without_a_page_are_forgotten(tmp_path: Path) -> None:
    sessions = Sessions(None, Worker())
    for index in range(20):
        sessions.session(None, f"caller{index}")
    sessions.page("caller3")
    sessions.forget_callers()
    assert len(sessions._sessions) == 1  # pyright: ignore[reportPrivateUsage]
    sessions.close()


gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("server")) as found:
        yield found


def asked(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, data, {key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(server: App) -> dict[str, Any]:
    return json.loads(asked(f"{server.url}/health")[1])


@pytest.mark.slow
def test_foreign_pages_get_nothing_from_the_real_server(server: App) -> None:
    upload = f"{server.url}/gradio_api/upload"
    kind = "multipart/form-data; boundary=x"
    data = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
    assert asked(upload, data, content_type=kind)[0] == 200
    assert asked(upload, data, content_type=kind, origin=server.url)[0] == 200
    for origin in ("https://evil.example", "http://localhost:3000", "null"):
        assert asked(upload, data, content_type=kind, origin=origin)[0] == 403
        assert asked(f"{server.url}/config", origin=origin)[0] == 403
    assert asked(f"{server.url}/config", host="evil.example")[0] == 403
    assert health(server)["status"] == "ok"


@pytest.mark.slow
def test_an_id_that_was_used_is_refused_at_once(server: App, small_photo: Path, tmp_path: Path) -> None:
    client = gradio_client.Client(server.url, download_files=str(tmp_path), verbose=False)
    options = {"gan": "none", "model": "none", "scale": 2, "job": secrets.token_hex(16), "api_name": "/upscale"}
    client.predict(gradio_client.handle_file(str(small_photo)), **options)
    with pytest.raises(Exception, match="id of another call") as caught:
        client.predict(gradio_client.handle_file(str(small_photo)), **options)
    assert "/" not in str(caught.value).replace("\n", "")
    client.close()


@pytest.mark.slow
def test_the_job_of_a_caller_that_has_gone_is_stopped(server: App, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    upscaler.save(upscaler.Picture(np.random.default_rng(0).random((256, 256, 3), np.float32)), path)
    code = f"""
import gradio_client
client = gradio_client.Client({server.url!r}, verbose=False)
picture = gradio_client.handle_file({str(path)!r})
client.submit(picture, gan="none", scale=8, steps=200, strength=0.9, api_name="/upscale").result()
"""
    caller = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: health(server)["running"] == 1)
    finally:
        caller.kill()
        caller.wait()
    wait_until(lambda: health(server)["running"] == 0)


def wait_until(holds: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_heavy_plan_does_not_stall_the_server(server: App, tmp_path: Path) -> None:
    client = gradio_client.Client(server.url, download_files=str(tmp_path), verbose=False)
    plans = [
        client.submit(60_000, 60_000, scale=16, tile="64", overlap=56, feather=8, api_name="/plan") for _ in range(8)
    ]
    longest = 0.0
    while not all(plan.done() for plan in plans):
        start = time.monotonic()
        assert health(server)["status"] == "ok"
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.05)
    assert longest < 3
    client.close()
