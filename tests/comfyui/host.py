"""A ComfyUI server and what one says to it: HTTP for workflows and pictures, a web socket for what it tells."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Workflow = dict[str, Any]


@dataclass
class Run:
    """What came of a workflow: how it ended, all messages with their time of arrival, previews, and saved pictures."""

    ended: str
    messages: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    previews: list[tuple[float, bytes]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    pictures: list[NDArray[np.float32]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message["data"] for _, message in self.messages if message["type"] == kind]


class Host:
    """A running server; `close` ends it."""

    def __init__(self, program: Path, python: str, base: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base = base
        self._log = base / "log.txt"
        command = [python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(base), "--disable-auto-launch", "--disable-api-nodes"]
        command += ["--database-url", "sqlite:///:memory:", "--use-pytorch-cross-attention"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=program, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        deadline = time.monotonic() + 180
        while True:
            try:
                self.get("/system_stats")
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise RuntimeError(f"ComfyUI did not start:\n{self.log}") from None
                time.sleep(0.5)

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def get(self, path: str) -> Any:
        body = self.fetch(path)
        return json.loads(body) if body else None

    def fetch(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def forget(self) -> None:
        """Drop all cached results, so that the same workflow runs again."""
        self.fetch("/free", {"free_memory": True})
        time.sleep(1.5)  # the worker looks once a second

    def run(self, workflow: Workflow, *, on_message: Callable[[dict[str, Any]], None] | None = None) -> Run:
        """Send a workflow and wait for its end."""
        client = uuid.uuid4().hex
        ears = _Socket(self.port, f"/ws?clientId={client}")
        try:
            prompt = json.loads(self.fetch("/prompt", {"prompt": workflow, "client_id": client}))["prompt_id"]
            run = Run("")
            while not run.ended:
                kind, body = ears.receive()
                if kind == 2:
                    run.previews.append((time.monotonic(), body))
                    continue
                message = json.loads(body)
                run.messages.append((time.monotonic(), message))
                if on_message is not None:
                    on_message(message)
                if message["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                    run.ended = message["type"]
        finally:
            ears.close()
        while prompt not in (history := self.get(f"/history/{prompt}")):
            time.sleep(0.05)
        run.outputs = history[prompt]["outputs"]
        for output in run.outputs.values():
            run.pictures += [self._picture(image) for image in output.get("images", []) if image["type"] == "output"]
        return run

    def _picture(self, image: dict[str, str]) -> NDArray[np.float32]:
        body = self.fetch("/view?" + urllib.parse.urlencode(image))
        with PIL.Image.open(BytesIO(body)) as file:
            return (np.asarray(file) / 255).astype(np.float32)


class _Socket:
    """The reading half of a web socket (RFC 6455)."""

    def __init__(self, port: int, path: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=900)
        key = base64.b64encode(os.urandom(16)).decode()
        head = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(head).encode())
        self._file = self._socket.makefile("rb")
        answer = self._file.readline()
        assert re.match(rb"HTTP/1.1 101", answer), answer
        while self._file.readline().strip():
            pass

    def receive(self) -> tuple[int, bytes]:
        """Kind (1 text, 2 bytes) and content of the next message."""
        kind, body = 0, b""
        while True:
            first, second = self._file.read(2)
            length = second & 127
            if length > 125:
                length = int(
                    struct.unpack("!H" if length == 126 else "!Q", self._file.read(2 if length == 126 else 8))[0]
                )
            part = self._file.read(length)
            if first & 15 > 7:  # control frames
                continue
            kind, body = kind or first & 15, body + part
            if first & 128:
                return kind, body

    def close(self) -> None:
        self._file.close()
        self._socket.close()
