"""The page of models, without a browser and without a hub."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

gradio = pytest.importorskip("gradio")

from upscaler_ui.app import library  # noqa: E402 - after it is known that Gradio is there
from upscaler_ui.app.fetches import Fetches, Stage  # noqa: E402
from upscaler_ui.app.handlers import Handlers, build  # noqa: E402
from upscaler_ui.app.jobs import Worker  # noqa: E402
from upscaler_ui.app.sessions import Sessions  # noqa: E402

from upscaler import weights  # noqa: E402
from upscaler.errors import SettingsError, UnsupportedModel, WeightsError  # noqa: E402
from upscaler.models import manifest  # noqa: E402
from upscaler.options.settings import Settings  # noqa: E402
from upscaler.planning import with_model  # noqa: E402

_NOTHING = np.zeros((2, 2), np.float16)
SD15 = {
    "model.diffusion_model.input_blocks.0.0.weight": np.zeros((320, 4, 3, 3), np.float16),
    "cond_stage_model.transformer.x": _NOTHING,
}
OSEDIFF = {"down.lora_A.default_others": _NOTHING, "conv_in.base_layer.weight": _NOTHING}
LORA = {"lora_unet_x.lora_down.weight": _NOTHING}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's models."""
    monkeypatch.setenv("UPSCALER_MODELS", "")
    monkeypatch.setattr("upscaler.folders.data_folder", lambda: tmp_path / "data")
    return tmp_path / "data" / "models"


@pytest.fixture
def page(tmp_path: Path) -> Any:
    sessions = Sessions(tmp_path / "history", Worker())
    blocks = build(sessions)
    yield next(fn.fn.__self__ for fn in blocks.fns.values() if fn.name == "on_load")
    sessions.close()


def file(path: Path, tensors: dict[str, Any]) -> Path:
    save_file(tensors, path)
    return path


def until(holds: Callable[[], Any]) -> None:
    for _ in range(400):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_fetch_is_stopped_and_goes_on_and_what_fails_says_why() -> None:
    go, come = threading.Event(), [0]

    def fetch(entry: manifest.Entry, *, on_bytes: Any) -> Path:
        if entry.name == "sdxl":
            raise WeightsError("sdxl: needs 7 GB more")
        while come[0] < 10:
            go.wait(0.02)
            on_bytes(come[0], 10)
            come[0] += 1
        return Path("there")

    fetches = Fetches(fetch)
    try:
        for name in ("sd15", "sdxl", "taesd"):
            fetches.start(manifest.entry(name))
        until(lambda: come[0] > 2)
        assert fetches.of("taesd").stage is Stage.WAITING
        fetches.stop("taesd")
        fetches.stop("sd15")
        until(lambda: not fetches.busy)
        stages = [fetches.of(name).stage for name in ("sd15", "sdxl", "taesd")]
        assert stages == [Stage.STOPPED, Stage.FAILED, Stage.STOPPED]
        assert come[0] < 10
        go.set()
        fetches.start(manifest.entry("sd15"))
        until(lambda: fetches.arrived)
        (shown,) = (
            item for item in library.listed(fetches, local=True, owned=True)["remote"] if item["name"] == "sdxl"
        )
        assert (shown["stage"], shown["text"]) == ("failed", "sdxl: needs 7 GB more. Change it and try again.")
    finally:
        fetches.close()


def test_what_is_not_free_is_fetched_when_its_licence_is_accepted(
    page: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []
    monkeypatch.setattr(page.sessions.fetches, "start", lambda entry: wanted.append(entry.name))
    request = gradio.Request(session_hash="page")
    for name, accepted in (("sd15", False), ("sd15", "yes"), ("sd15", True), ("taesd", None), ("../x", True)):
        sent = {"action": "fetch", "name": name, "accepted": accepted}
        update = page.on_models_act(gradio.EventData(None, sent), request)
    assert wanted == ["sd15", "taesd"]
    assert "No model &#x27;../x&#x27; can be fetched" in update[page.added]


def test_strangers_neither_fetch_nor_add(tmp_path: Path, models: Path) -> None:
    sessions = Sessions(None, Worker())
    page = next(fn.fn.__self__ for fn in build(sessions, local=False).fns.values() if fn.name == "on_load")
    try:
        request = gradio.Request(session_hash="page")
        page.on_models_act(gradio.EventData(None, {"action": "fetch", "name": "taesd"}), request)
        page.on_add_model(request, str(file(tmp_path / "style.safetensors", LORA)))
        assert not sessions.fetches.busy
        assert not models.exists()
        shown = library.listed(sessions.fetches, local=False, owned=False)
        assert (shown["folder"], shown["remote"]) == ("", [])
    finally:
        sessions.close()


def test_files_are_added_as_safetensors_under_their_name(tmp_path: Path, models: Path) -> None:
    import torch

    assert library.add(file(tmp_path / "style.safetensors", LORA)) == "style"
    torch.save({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "old.pt")
    assert library.add(tmp_path / "old.pt") == "old"
    assert sorted(path.name for path in models.iterdir()) == ["old.safetensors", "style.safetensors"]
    assert {model.name for model in weights.models("lora")} >= {"old", "style"}
    with pytest.raises(SettingsError, match="already among the models"):
        library.add(file(tmp_path / "style.safetensors", LORA))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"what.ever": _NOTHING}, "unknown kind"),
        ({**SD15, "model.diffusion_model.input_blocks.0.0.weight": np.zeros((320, 9, 3, 3), np.float16)}, "inpainting"),
        ({"conv_first.weight": _NOTHING}, "bad.safetensors"),
    ],
)
def test_what_is_no_model_is_not_added(tmp_path: Path, models: Path, tensors: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        library.add(file(tmp_path / "bad.safetensors", tensors))
    assert list(models.iterdir()) == []


def test_a_model_brings_its_defaults_and_takes_them_back(tmp_path: Path, models: Path, page: Handlers) -> None:
    library.add(file(tmp_path / "ose.safetensors", OSEDIFF))
    library.add(file(tmp_path / "lcm.safetensors", SD15))
    first = Settings().but(feather=24)
    one_step = with_model(first, first.but(model="ose"))
    assert (one_step.gan.model, one_step.diffusion.strength, one_step.seams.mode) == ("none", 1.0, "none")
    back = with_model(one_step, one_step.but(model="lcm", overlap=96))
    assert back == Settings().but(model="lcm", overlap=96)

    request, form = gradio.Request(session_hash="page"), page.form
    values = [field.value for field in form.fields]
    values[form.fields.index(form.widgets["model"])] = "ose"
    update = page.on_model(request, *values)
    assert update[form.widgets["strength"]] == 1.0
    assert update[form.groups["LoRA and VAE"]].visible is False
    values[form.fields.index(form.widgets["model"])] = "lcm"
    update = page.on_model(request, *values)
    assert update[form.groups["ControlNet"]].visible is True


def test_loras_and_controlnets_have_a_place_with_models_that_take_them(tmp_path: Path, models: Path) -> None:
    library.add(file(tmp_path / "sd.safetensors", SD15))
    shown = {name: library.adapters_shown(Settings().but(model=name)) for name in ("pocket", "none", "sd", "hub/one")}
    assert [all(groups.values()) for groups in shown.values()] == [False, False, True, True]
    assert library.adapters_shown(Settings().but(lora="style"))["LoRA and VAE"]
