"""Fetching models, against a server on this machine that behaves like the hub, and like a bad network."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from upscaler import cli, weights
from upscaler.errors import ChecksumMismatch, UpscalerError, WeightsError, WeightsNotFound
from upscaler.models import fetch as fetching
from upscaler.models import manifest
from upscaler.models.fetch import fetch
from upscaler.models.manifest import Entry, Remote

LARGE = np.random.default_rng(0).bytes(3_000_000)
SMALL = b'{"_class_name": "ControlNetModel"}'


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Hub:
    """What the server has and how it behaves.

    Attributes:
        cuts: after how many bytes each of the next answers breaks off.
        ranges: whether it can begin in the middle.
        stored: what arrives, if it is not what the headers say.
    """

    files: dict[str, bytes]
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    stored: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    log: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, name = self.hub, self.path.rpartition("/")[2]
        hub.log.append((self.command, self.path, self.headers.get("Range", "") + self.headers.get("Authorization", "")))
        if hub.status != 200 or name not in hub.files:
            self.send_response(hub.status if hub.status != 200 else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = hub.files[name]
        if name.endswith(".safetensors") and "/cdn/" not in self.path:  # large files lie elsewhere
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/cdn/{name}")
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = hub.stored.get(name, content)
        start = 0
        if hub.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{git_hash(content)}"' if "/cdn/" not in self.path else '"other"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            part = content[start:]
            if hub.cuts:
                self.wfile.write(part[: hub.cuts.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(part)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Hub]:
    hub = Hub({"weights.safetensors": LARGE, "config.json": SMALL})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("UPSCALER_MODELS", "")
    monkeypatch.setattr(weights.folders, "data_folder", lambda: tmp_path)
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


FILE = Entry(
    name="photo", kind="diffusion", family="SD 1.x", repository="someone/photo", licence="free", free=True, purpose="",
    files=(Remote("weights.safetensors"),),
)  # fmt: skip
FOLDER = replace(FILE, name="tile", kind="control", files=(Remote("config.json"), Remote("weights.safetensors")))


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_takes_the_name_of_its_model(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(FILE, on_bytes=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "models" / "photo.safetensors"
    assert path.read_bytes() == LARGE
    assert seen[-1] == (len(LARGE), len(LARGE))
    assert left(tmp_path / "models") == ["photo.safetensors"]
    requests = len(hub.log)
    assert fetch(FILE) == path
    assert len(hub.log) == requests, "what is there is not asked for again"


def test_the_login_is_told_to_the_hub_alone(hub: Hub) -> None:
    fetch(FILE)
    assert {extra for _, path, extra in hub.log if "/cdn/" not in path} == {"Bearer secret"}
    assert {extra for _, path, extra in hub.log if "/cdn/" in path} == {""}


def test_a_folder_appears_whole(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [len(SMALL), 1_000_000, *[0] * fetching._TRIES]
    with pytest.raises(WeightsError, match=r"lost at 1 of 3 MB .*again to continue"):
        fetch(FOLDER)
    assert not (tmp_path / "models" / "tile").exists()
    assert weights.models("control") == []
    path = fetch(FOLDER)
    assert left(path) == ["config.json", "weights.safetensors"]
    assert weights.find("tile", "control") == path
    assert left(tmp_path / "models") == ["tile/config.json", "tile/weights.safetensors"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_goes_on_where_it_was(ranges: bool, hub: Hub) -> None:
    hub.ranges = ranges
    hub.cuts = [1_000_000, 500_000, 0, 10]
    assert fetch(FILE).read_bytes() == LARGE
    asked = [
        extra.removesuffix("Bearer secret") for method, path, extra in hub.log if method == "GET" and "/cdn/" in path
    ]
    if ranges:
        assert asked == ["", "bytes=1000000-", "bytes=1500000-", "bytes=1500000-", "bytes=1500010-"]


def test_a_stopped_fetch_goes_on_in_the_next_run(hub: Hub, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 1_500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(FILE, on_bytes=stop)
    assert weights.models("diffusion") == [model for model in weights.bundled() if model.kind == "diffusion"]
    hub.log.clear()
    assert fetch(FILE).read_bytes() == LARGE
    assert any(extra.startswith("bytes=2") for _, _, extra in hub.log)


def test_another_version_on_the_hub_starts_anew(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [1_000_000, *[0] * fetching._TRIES]
    with pytest.raises(WeightsError):
        fetch(FILE)
    hub.files["weights.safetensors"] = newer = LARGE[::-1]
    assert fetch(FILE).read_bytes() == newer
    assert left(tmp_path / "models") == ["photo.safetensors"]


@pytest.mark.parametrize(
    ("remote", "stored"),
    [
        (Remote("weights.safetensors"), LARGE[:-1] + b"x"),
        (Remote("weights.safetensors", sha256=hashlib.sha256(LARGE).hexdigest()), LARGE[:-1] + b"x"),
    ],
)
def test_what_arrives_wrong_is_thrown_away(remote: Remote, stored: bytes, hub: Hub, tmp_path: Path) -> None:
    hub.stored["weights.safetensors"] = stored
    with pytest.raises(ChecksumMismatch, match="wrong checksum"):
        fetch(replace(FILE, files=(remote,)))
    assert left(tmp_path / "models") == []
    hub.stored.clear()
    assert fetch(replace(FILE, files=(remote,))).read_bytes() == LARGE


@pytest.mark.parametrize(
    ("extra", "words"), [({"sha256": "0" * 64}, "SHA-256"), ({"bytes": 5}, "bytes 3000000 instead")]
)
def test_another_file_than_the_manifest_says_is_not_fetched(
    extra: dict[str, str], words: str, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(ChecksumMismatch, match=words):
        fetch(replace(FILE, files=(Remote("weights.safetensors", **extra),)))  # type: ignore[arg-type]
    assert {method for method, _, _ in hub.log} == {"HEAD"}
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "hf auth login"),
        (403, "accepted its terms"),
        (404, "no longer has"),
        (418, "HTTP 418"),
        (503, "answers 503"),
    ],
)
def test_a_hub_that_refuses_is_said_in_one_line(status: int, words: str, hub: Hub) -> None:
    hub.status = status
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(FILE)
    assert len(str(caught.value).splitlines()) == 1


def test_no_network_is_said_plainly(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsNotFound, match="switched off by HF_HUB_OFFLINE"):
        fetch(FILE)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        WeightsNotFound, match=r"127\.0\.0\.1:9 cannot be reached .*download http.* and copy it to .*photo"
    ):
        fetch(FILE)


def test_a_full_disk_is_said_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(WeightsError, match=r"photo: needs 0.0 GB more .* 0.0 GB are free"):
        fetch(FILE)
    assert {method for method, _, _ in hub.log} == {"HEAD"}


def test_the_manifest() -> None:
    names = [entry.name for entry in manifest.entries()]
    assert len(set(names)) == len(names)
    for entry in manifest.entries():
        assert weights.HUB_ID.fullmatch(entry.repository)
        assert entry.purpose
        assert entry.licence
        assert entry.free == (entry.licence in ("MIT", "Apache-2.0"))
        assert all(remote.sha256 is None or len(remote.sha256) == 64 for remote in entry.files)
    with pytest.raises(WeightsNotFound, match="did you mean sdxl"):
        manifest.entry("sdxll")


def test_a_licence_is_asked_for(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(FILE, free=False, licence="Some RAIL-M")
    monkeypatch.setattr(manifest, "entries", lambda: (entry,))
    assert cli.main(["models", "fetch", "photo"]) == 2
    assert "Some RAIL-M" in (said := capsys.readouterr().err)
    assert "add --yes" in said
    monkeypatch.setattr(
        "sys.stdin", type("Terminal", (), {"isatty": lambda self: True, "readline": lambda self: "n\n"})()
    )
    assert cli.main(["models", "fetch", "photo"]) == 2
    assert not hub.log
    assert cli.main(["models", "fetch", "photo", "--yes"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "models" / "photo.safetensors")
    assert cli.main(["models", "fetch"]) == 0
    assert "photo" in capsys.readouterr().out


def test_errors_are_those_of_the_package(hub: Hub) -> None:
    hub.files.clear()
    with pytest.raises(UpscalerError):
        fetch(FILE)
