"""The extension in a real WebUI: `WEBUI_DIR=... pytest tests/hosts/test_webui_server.py`.

`WEBUI_DIR` is an installation of AUTOMATIC1111 or Forge with a checkpoint of Stable Diffusion 1.x. Random weights do if
the log-variance of their encoder is far below zero, as in trained ones: what it draws, no seed decides.
The extension is installed into it, the host is started and asked by its API, and the extension taken out again.
`WEBUI_PYTHON` is its Python (`venv/bin/python` in it), `WEBUI_ARGS` are its arguments; the default is for
A1111 without a GPU, and Forge then wants `--always-cpu` too.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from upscaler.options.settings import options

DIR = os.environ.get("WEBUI_DIR")
if DIR is None:
    pytest.skip("WEBUI_DIR names no installation of A1111's WebUI or of Forge", allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent))
import webui  # noqa: E402

_ARGS = "--api --skip-torch-cuda-test --skip-install --no-half --use-cpu all --no-hashing --no-download-sd-model"
_NAME = "tiled diffusion upscale"
_START = 300  # seconds


def _signature(tree: ast.AST, name: str) -> list[str]:
    """Argument names of a function or method in a module."""
    node: Any = tree
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return [argument.arg for argument in node.args.args]


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in webui.HOST_FILES.items() for name in names])
def test_the_fake_host_has_the_signatures_of_the_real_one(file: str, name: str) -> None:
    fake = _signature(ast.parse(Path(webui.__file__).read_text("utf-8")), name)
    real = _signature(ast.parse((Path(str(DIR)) / file).read_text("utf-8")), name)
    assert real[: len(fake)] == fake


@dataclass
class Server:
    url: str
    log: Path

    def call(self, path: str, data: dict[str, Any] | None = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=1800) as answer:
            return json.load(answer)

    def info(self) -> dict[str, Any]:
        return next(s for s in self.call("/sdapi/v1/script-info") if s["name"] == _NAME and s["is_img2img"])

    def run(self, arguments: list[Any], **fields: Any) -> tuple[list[Image.Image], dict[str, Any]]:
        body = {
            "init_images": [_encoded(photo())],
            "prompt": "a hill",
            "denoising_strength": 0.3,
            "steps": 4,
            "seed": 5,
            "sampler_name": "Euler a",
            "cfg_scale": 1.0,
            "script_name": _NAME,
            "script_args": arguments,
            **fields,
        }
        answer = self.call("/sdapi/v1/img2img", body)
        return [_decoded(text) for text in answer["images"]], json.loads(answer["info"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from upscaler_ui.install import install, uninstall

    folder = Path(str(DIR)).resolve()
    install("webui", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = os.environ.get("WEBUI_PYTHON") or str(folder / "venv" / "bin" / "python")
    arguments = shlex.split(os.environ.get("WEBUI_ARGS", _ARGS))
    log = tmp_path_factory.mktemp("webui") / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [python, "-u", "launch.py", *arguments, "--port", str(port)], cwd=folder, stdout=file, stderr=file
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + _START
        while "Startup time" not in log.read_text():  # before that, it answers with half of its scripts
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        yield server
    finally:
        process.terminate()
        process.wait(30)
        uninstall("webui", folder)


def photo() -> Image.Image:
    with Image.open(webui.ROOT / "examples" / "photo.png") as file:
        return file.convert("RGB").resize((160, 128), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean, in levels of 8 bits."""
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


NAMES = [
    option.name
    for option in options()
    if option.group in ("target", "gan", "tiles", "seams", "wavelet")
    and option.name not in ("batch", "mode", "seam_steps", "wrap")
]
SMALL = {"scale": 2, "gan": "Lanczos", "tile": "192", "overlap": 64, "feather": 32, "seams": "none"}
RAW = {"wavelet_color": 0, "wavelet_denoise": 0, "consistency": 0}


def arguments(**given: Any) -> list[Any]:
    given = {**SMALL, **given}
    return [given.get(name) for name in NAMES]


def test_the_host_lists_the_script_and_reports_no_error(server: Server) -> None:
    assert [argument["label"] for argument in server.info()["args"]][:2] == ["Scale", "Width (px)"]
    assert len(server.info()["args"]) == len(NAMES)
    assert "tiled_diffusion_upscaler" not in server.log.read_text()


def test_names_and_indexes_and_batches_give_the_same_picture(server: Server) -> None:
    images, info = server.run(arguments())
    assert images[0].size == (320, 256)
    assert "Script: Tiled diffusion upscale, Tiled scale: 2.0, Tiled gan: Lanczos" in info["infotexts"][0]
    assert info["all_seeds"] == [5]
    networks = server.info()["args"][NAMES.index("gan")]["choices"]
    by_index, _ = server.run(arguments(gan=networks.index("Lanczos"), order=0, seams=0), batch_size=4)
    assert difference(images[0], by_index[0]) < 0.1


def test_the_noise_is_the_canvas_s(server: Server) -> None:
    tiled, _ = server.run(arguments(**RAW))
    whole, _ = server.run(arguments(**RAW, tile="512"))
    plain, _ = server.run(arguments(**RAW), denoising_strength=0.0)
    assert difference(tiled[0], whole[0]) < difference(tiled[0], plain[0]) / 4


def test_interrupt_gives_the_canvas_so_far(server: Server) -> None:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(server.run(arguments(tile="128"), steps=20)))
    thread.start()
    while "Refining" not in str(server.call("/sdapi/v1/progress")["textinfo"]):
        assert thread.is_alive()
        time.sleep(0.2)
    server.call("/sdapi/v1/interrupt", {})
    start = time.monotonic()
    thread.join()
    assert time.monotonic() - start < 60  # the host decodes the tile at work, on a processor
    images, _ = answers[0]
    plain, _ = server.run(arguments(), denoising_strength=0.0)
    assert images[0].size == (320, 256)
    assert difference(images[0], plain[0]) < 20
    assert server.call("/sdapi/v1/progress")["state"]["job_count"] in (0, -1)


def test_a_wrong_value_is_answered_in_one_line(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.run(arguments(overlap=-8))
    assert "tiles.overlap: -8 is not allowed" in caught.value.read().decode()
