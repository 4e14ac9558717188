"""The app's endpoints, as a program calls them."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from upscaler_ui.app import form

import upscaler
from upscaler.options.settings import options
from upscaler.pictures.files import read_settings

from .conftest import App

pytestmark = pytest.mark.slow

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def client(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = gradio_client.Client(app.url, download_files=str(tmp_path_factory.mktemp("got")), verbose=False)
    yield found
    found.close()


def test_the_endpoints_are_four_with_a_parameter_for_each_setting(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/upscale", "/plan", "/list_models", "/cancel"}
    parameters = {parameter["parameter_name"]: parameter for parameter in named["/upscale"]["parameters"]}
    settings = {option.name for option in options()} - set(form.LEFT_OUT)
    assert set(parameters) == settings | {"image", "preset", "job"}
    assert parameters["strength"]["parameter_default"] == 0.25
    assert not parameters["image"]["parameter_has_default"]
    assert {named["/plan"]["parameters"][i]["parameter_name"] for i in range(3)} == {
        "picture_width",
        "picture_height",
        "preset",
    }


def test_upscale(client: Any, small_photo: Path) -> None:
    job = client.submit(
        gradio_client.handle_file(str(small_photo)), preset="fast", scale=2, format="jpeg", api_name="/upscale"
    )
    path, about = job.result(timeout=120)
    with Image.open(path) as image, Image.open(small_photo) as source:
        assert image.format == "JPEG"
        assert image.size == (320, 256)
        assert image.info["icc_profile"] == source.info["icc_profile"]
    assert about["settings"]["gan"]["model"] == "realesr-animevideov3"
    assert read_settings(path) == about["settings"]
    assert about["seconds"] > 0


def test_plan_and_models(client: Any) -> None:
    found = client.predict(512, 512, preset="fast", megapixels=16, api_name="/plan")
    assert found["target"] == [4000, 4000]
    assert found["grid"] == [7, 7]
    models = client.predict(api_name="/list_models")
    assert {"name": "pocket", "kind": "diffusion"}.items() <= next(m for m in models if m["name"] == "pocket").items()
    assert not any("/" in str(value) or "\\" in str(value) for model in models for value in model.values())


def test_cancel(client: Any, small_photo: Path) -> None:
    id = secrets.token_hex(16)
    assert client.predict(id, api_name="/cancel") is False
    job = client.submit(
        gradio_client.handle_file(str(small_photo)), preset="texture", scale=8, job=id, api_name="/upscale"
    )
    for _ in range(300):
        if client.predict(id, api_name="/cancel"):
            break
        time.sleep(0.1)
    begin = time.monotonic()
    with pytest.raises(Exception, match="was stopped"):
        job.result(timeout=60)
    assert time.monotonic() - begin < 10
    assert client.predict(id, api_name="/cancel") is False


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "/etc"}, "not in the list|no model"),
        ({"gan": "../realesrgan"}, "not in the list|no model"),
        ({"strength": 7}, "strength|maximum|greater"),
        ({"tile": "7;rm"}, "tile: '7;rm' is not allowed"),
        ({"width": 999999}, "width|maximum"),
        ({"preset": "../../secret"}, "preset"),
        ({"job": "x"}, "job"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(
    client: Any, small_photo: Path, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=f"(?i){words}") as error:
        client.predict(
            gradio_client.handle_file(str(small_photo)), **{"preset": "fast", "scale": 2, **values}, api_name="/upscale"
        )
    assert "Traceback" not in str(error.value)


def test_files_of_the_server_are_not_given_away(app: App, client: Any) -> None:
    with pytest.raises(Exception, match=r"."):
        client.predict(
            {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}, preset="fast", api_name="/upscale"
        )
    for path in ("/etc/hostname", str(app.data / "app.log"), f"{app.data}/upscaler/history/../../app.log"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{app.url}/gradio_api/file={path}", timeout=10)
        assert refused.value.code in (403, 404)


def test_many_callers_get_their_own_pictures(app: App, small_photo: Path, tmp_path: Path) -> None:
    got: dict[int, tuple[int, int]] = {}

    def call(width: int) -> None:
        path = tmp_path / f"{width}.png"
        with Image.open(small_photo) as photo:
            photo.crop((0, 0, width, 64)).save(path)
        own = gradio_client.Client(app.url, download_files=str(tmp_path / "got"), verbose=False)
        found, _ = own.predict(gradio_client.handle_file(str(path)), preset="fast", scale=2, api_name="/upscale")
        own.close()
        with Image.open(found) as image:
            got[width] = image.size

    callers = [threading.Thread(target=call, args=(width,)) for width in (64, 80, 96)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    assert got == {width: (2 * width, 128) for width in (64, 80, 96)}


def test_the_description_of_the_endpoints_is_what_the_app_serves(app: App) -> None:
    """`UPDATE_DOCS=1` writes it."""
    with urllib.request.urlopen(f"{app.url}/gradio_api/openapi.json", timeout=20) as answer:
        served = json.load(answer)
    served["info"]["version"] = upscaler.__version__  # Gradio's own otherwise
    page = Path(upscaler.__file__).parents[1] / "docs" / "openapi.json"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(json.dumps(served, indent=1, sort_keys=True) + "\n", "utf-8")
    assert json.loads(page.read_text("utf-8")) == served, (
        "run UPDATE_DOCS=1 python -m pytest tests/frontends/test_app_api.py"
    )
