"""`upscaler ui`: start the app in the browser."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from upscaler.errors import SettingsError, UpscalerError
from upscaler.folders import data_folder

if TYPE_CHECKING:
    from .sessions import Sessions

_PORTS = range(7860, 7960)
_LARGEST_UPLOAD = "2gb"
_IDLE_LOOK = 0.05  # seconds between two looks of Gradio's queue for work


def start(parsed: argparse.Namespace) -> int:
    """Run the app until it is closed.

    Raises:
        SettingsError: `--listen` without saying who may come in, or a login without a password.
        UpscalerError: Gradio is not installed, or the port is taken.
    """
    auth = _login(parsed)
    if importlib.util.find_spec("gradio") is None:
        raise UpscalerError(
            'the app needs Gradio, which is not installed; run: pip install "tiled-diffusion-upscaler[ui]"'
        )
    hosts = parsed.allow_host or ()
    with serving(parsed.listen, parsed.port, auth, one_user=parsed.one_user, hosts=hosts) as url:
        print(f"upscaler is running at {url}", file=sys.stderr, flush=True)
        if not parsed.no_browser and not parsed.listen:
            webbrowser.open(url)
        wait_for_stop()
    return 0


def wait_for_stop() -> None:
    """Return after Ctrl-C, or when the process is asked to end."""
    import signal

    over = threading.Event()

    def end(*_: object) -> None:
        over.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    while not over.wait(0.5):  # Windows delivers signals only between waits
        pass


@contextmanager
def serving(
    listen: bool = False,
    port: int | None = None,
    auth: tuple[str, str] | None = None,
    *,
    one_user: bool = False,
    hosts: Sequence[str] = (),
    sessions: Sessions | None = None,
    page: Callable[..., Any] | None = None,
    middleware: Sequence[Any] = (),
    css: str = "",
) -> Generator[str, None, None]:
    """The address of the app, which runs as long as the context lasts.

    Args:
        one_user: whoever comes in without a login is the user of this machine.
        hosts: names under which the app may be reached, beside addresses and the machine's own name.
        sessions: whose pages these are; by default everybody's own history, in the folder of the user's data.
        page: makes the page of them; default is `handlers.build`.
        middleware: of Starlette, what each request has to pass.
        css: style that is added to that of the page.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

    from .components import ASSETS, asset
    from .guard import guard
    from .handlers import build
    from .jobs import Worker
    from .sessions import KEPT_PAGES, Sessions

    public = listen and auth is None and not one_user
    if sessions is None:
        folder = None if public else data_folder()
        worker = Worker(progress=folder and folder / "progress")
        sessions = Sessions(folder and folder / "history", worker)
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.exchange.folder)
    blocks = (page or build)(sessions, local=not listen)
    blocks.queue(default_concurrency_limit=16)
    # 0.001 by default, which is a tenth of a core all the time
    blocks._queue.sleep_when_free = _IDLE_LOOK  # pyright: ignore[reportPrivateUsage]
    try:
        _, local, _ = blocks.launch(
            server_name="0.0.0.0" if listen else "127.0.0.1",
            server_port=port or _free_port(),
            auth=auth,
            auth_message="upscaler",
            allowed_paths=[str(sessions.folder)],
            app_kwargs={"middleware": [*middleware, guard(hosts, sessions.health)]},
            state_session_capacity=KEPT_PAGES,  # what Gradio remembers of a caller is a third of a megabyte
            max_file_size=_LARGEST_UPLOAD,
            ssr_mode=False,
            share=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            footer_links=["api"],
            favicon_path=ASSETS / "favicon.png",
            theme=theme(),
            css=asset("app.css") + css,
            head=f"<style>{asset('page.css')}</style>",
            js=f"() => {{\n{asset('keys.js')}\n}}",
        )
    except OSError as error:
        raise UpscalerError(f"--port {port}: cannot be used ({error}); choose another one, or leave it out") from None
    sessions.worker.warm_up()
    try:
        yield local
    finally:
        sessions.close()
        blocks.close(verbose=False)


def theme() -> Any:
    """Colours and fonts; nothing in it is fetched from elsewhere."""
    import gradio as gr

    fonts = ["system-ui", "sans-serif"]
    return gr.themes.Default(
        primary_hue="indigo", neutral_hue="zinc", font=fonts, font_mono=["ui-monospace", "monospace"]
    )


def _login(parsed: argparse.Namespace) -> tuple[str, str] | None:
    if parsed.listen and not (parsed.auth or parsed.no_auth or parsed.one_user):
        raise SettingsError(
            "--listen lets other machines in; add --auth USER:PASSWORD, --no-auth if anyone may use this machine, or --one-user "
            "if only you can reach it"
        )
    if not parsed.auth:
        return None
    user, _, password = parsed.auth.partition(":")
    if not user or not password:
        raise SettingsError("--auth: a user and a password are needed; give USER:PASSWORD")
    return user, password


def _free_port() -> int:
    import socket

    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise UpscalerError(f"the ports {_PORTS.start} to {_PORTS.stop - 1} are all in use; choose another one with --port")
