"""The desktop window on a screen of its own (Xvfb), used as a person would: keys, clicks, and a look at the page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

ROOT = Path(__file__).parents[2]
TOOLS = ("Xvfb", "openbox", "xdotool")
T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = 60) -> T:
    """The first true value that `look` gives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError, KeyError, IndexError):
            found = look()
            if found:
                return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@contextmanager
def screen() -> Generator[str, None, None]:
    """A display with a window manager; its name."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1366x768x24", "-nolisten", "tcp"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, pass_fds=[write], **quiet)
    os.close(write)
    with os.fdopen(read) as stream:
        display = f":{stream.readline().strip()}"
    manager = subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": display}, **quiet)
    try:
        yield display
    finally:
        for process in (manager, server):
            process.terminate()
            process.wait(10)


@dataclass
class Desktop:
    """One user's program: their folders, their screen, and the window while it is open.

    Attributes:
        process: that of the command.
        page: what the window shows.
    """

    home: Path
    display: str
    port: int = 0
    process: subprocess.Popen[str] | None = None
    page: Page | None = None
    more: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        """Of the program. It runs as root here, so that the web engine has to go without its sandbox."""
        return {
            **os.environ,
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "GRADIO_TEMP_DIR": str(self.home / "gradio"),
            "DISPLAY": self.display,
            "QTWEBENGINE_DISABLE_SANDBOX": "1",
            "QTWEBENGINE_REMOTE_DEBUGGING": str(self.port),
            **self.more,
        }

    @property
    def state(self) -> Path:
        return self.home / "state" / "upscaler"

    @property
    def queue(self) -> dict[str, Any]:
        """The queue on the disk."""
        return json.loads((self.state / "desktop-queue.json").read_text())["items"]

    def start(self, *paths: Path) -> None:
        """Open the window, and wait until the page in it is there."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = self.command(*paths)
        self.page = until(lambda: Page(self.port), "the page")
        self.wait_for("!!document.querySelector('button#run') && !!window.upscaler", "the app")

    def command(self, *paths: Path, **more: str) -> subprocess.Popen[str]:
        """`upscaler desktop`, begun."""
        command = [sys.executable, "-m", "upscaler", "desktop", *map(str, paths)]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, seconds: float = 40) -> int:
        """The exit code of the command, which ends by itself."""
        assert self.process is not None
        self.process.communicate(timeout=seconds)
        return self.process.returncode

    def end(self) -> None:
        """End whatever is left of it."""
        if self.process is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            self.process.kill()
            self.process.communicate()

    def server(self) -> psutil.Process:
        """The server's process."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if "upscaler_ui.desktop.serve" in child.cmdline())

    def script(self, code: str) -> Any:
        """What a piece of JavaScript in the page gives."""
        assert self.page is not None
        return self.page.value(code)

    def wait_for(self, code: str, what: str, seconds: float = 60) -> Any:
        """Wait until a piece of JavaScript gives something true."""
        return until(lambda: self.script(code), what, seconds)

    def press(self, selector: str) -> None:
        """Click on something in the page."""
        place = json.dumps(selector)
        self.wait_for(f"(b => b && !b.disabled && (b.click(), true))(document.querySelector({place}))", selector)

    def chosen(self, name: str) -> None:
        """Wait until the page shows that picture as the chosen one."""
        shows = "document.querySelector('#bar .names')?.textContent === {0} && !!document.querySelector('#facts')?.innerText.trim()"
        self.wait_for(shows.format(json.dumps(name)), f"the picture {name}")

    def run(self) -> None:
        """Press Upscale, and wait until the job is at work."""
        self.press("button#run")
        until(lambda: "%" in self.title(), "progress in the title")

    def keys(self, *keys: str) -> None:
        """Press keys in whatever window is in front."""
        self._xdotool("key", "--delay", "60", *keys)

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self._xdotool("type", "--delay", "8", text)

    def titles(self) -> list[str]:
        """Of all windows that are to be seen."""
        return self._xdotool("search", "--onlyvisible", "--name", ".", "getwindowname", "%@").splitlines()

    def title(self) -> str:
        """Of the window; empty where none is to be seen."""
        return next((title for title in self.titles() if title.endswith("upscaler")), "")

    def dialog(self, title: str) -> None:
        """Wait for a dialog, and bring it to the front."""
        window = until(
            lambda: self._xdotool("search", "--onlyvisible", "--name", f"^{title}$").split(), f"the dialog {title}"
        )
        self._xdotool("windowactivate", "--sync", window[0])
        time.sleep(0.3)

    def close(self) -> None:
        """Close the window by its frame."""
        window = self._xdotool("search", "--onlyvisible", "--name", "upscaler$").split()[0]
        self._xdotool("windowactivate", "--sync", window)
        self.keys("alt+F4")

    def _xdotool(self, *arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout


class Page:
    """The page of a window, by the debugging port of its engine: as much of the protocol as a test needs."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
            address = next(page["webSocketDebuggerUrl"] for page in json.load(answer) if page["type"] == "page")
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._number = 0
        key = base64.b64encode(os.urandom(16)).decode()
        head = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
        request = (f"GET {address.split(str(port), 1)[1]} HTTP/1.1", f"Host: 127.0.0.1:{port}", *head, "", "")
        self._socket.sendall("\r\n".join(request).encode())
        self._stream = self._socket.makefile("rb")
        while self._stream.readline().strip():
            pass

    def value(self, code: str) -> Any:
        """What a piece of JavaScript gives; `None` where it fails."""
        answer = self._call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        return answer["result"].get("result", {}).get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        data = json.dumps({"id": self._number, "method": method, "params": parameters}).encode()
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        self._socket.sendall(b"\x81" + length + mask + masked)
        while True:
            message = json.loads(self._message())
            if message.get("id") == self._number:
                return message

    def _message(self) -> bytes:
        body = b""
        while True:
            first, second = self._stream.read(2)
            length = second & 127
            if length > 125:
                wide = length == 127
                length = struct.unpack(">Q" if wide else ">H", self._stream.read(8 if wide else 2))[0]
            body += self._stream.read(length)
            if first & 0x80:
                return body


def missing_tools() -> str:
    """Which programs the tests of the window need and this machine has not."""
    return ", ".join(name for name in TOOLS if shutil.which(name) is None)
