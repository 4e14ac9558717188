"""Models that ComfyUI, the WebUIs and the hub's cache keep: found by name, listed with their place, and left as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.headers import CONV_IN, TEXT, header
from upscaler import cli, places, weights
from upscaler.errors import SettingsError, WeightsNotFound

CHECKPOINT = {CONV_IN: (320, 4, 3, 3), TEXT: (768,)}
INPAINT = {CONV_IN: (320, 9, 3, 3), TEXT: (768,)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any of the programs."""
    monkeypatch.setenv("UPSCALER_MODELS", "")
    for name in ("COMFYUI_DIR", "WEBUI_DIR", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(weights.folders, "data_folder", lambda: tmp_path / "data")
    return tmp_path


def file(path: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return header(path, shapes or {"x": (1,)})


def elsewhere() -> list[tuple[str, str, str]]:
    return [(model.name, model.kind, model.place) for model in weights.models() if not model.bundled]


def comfyui(folder: Path) -> Path:
    models = folder / "models"
    file(models / "checkpoints" / "photos" / "photo.safetensors", CHECKPOINT)
    file(models / "checkpoints" / "inpaint.safetensors", INPAINT)
    file(models / "unet" / "flux.safetensors", {"double_blocks.0.img_attn.qkv.weight": (9, 9)})
    file(models / "loras" / "style.safetensors", {"lora_unet_x.lora_down.weight": (4, 4)})
    file(models / "upscale_models" / "4x.safetensors")
    file(models / "vae" / "odd.safetensors")
    (models / "diffusers" / "folder").mkdir(parents=True)
    (models / "diffusers" / "folder" / "model_index.json").write_text("{}")
    file(models / "diffusers" / "folder" / "unet" / "part.safetensors")
    (models / "controlnet" / "tile").mkdir(parents=True)
    (models / "controlnet" / "tile" / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    return folder


ALL = [
    ("inpaint", "diffusion", "ComfyUI"),
    ("photo", "diffusion", "ComfyUI"),
    ("folder", "diffusion", "ComfyUI"),
    ("flux", "diffusion", "ComfyUI"),
    ("odd", "vae", "ComfyUI"),
    ("style", "lora", "ComfyUI"),
    ("tile", "control", "ComfyUI"),
    ("4x", "gan", "ComfyUI"),
]


def test_comfyui(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert elsewhere() == []
    program = comfyui(home / "ComfyUI")  # where people put it
    before = sorted(str(path) for path in program.rglob("*"))
    assert elsewhere() == ALL
    assert weights.find("photo", "diffusion") == program / "models" / "checkpoints" / "photos" / "photo.safetensors"
    monkeypatch.setenv("COMFYUI_DIR", str(program))
    assert elsewhere() == ALL, "each folder once"
    assert sorted(str(path) for path in program.rglob("*")) == before


def test_the_users_own_come_first(home: Path) -> None:
    comfyui(home / "ComfyUI")
    own = file(home / "data" / "models" / "photo.safetensors", CHECKPOINT)
    assert weights.find("photo", "diffusion") == own
    assert [model.path for model in weights.usable("diffusion") if model.name == "photo"] == [own]


def test_what_cannot_be_used_is_listed_and_not_offered(home: Path) -> None:
    comfyui(home / "ComfyUI")
    model = weights.get("inpaint", "diffusion")
    assert model.purpose.startswith("is an inpainting model (SD 1.x)")
    assert model.family == "SD 1.x"
    assert [m.name for m in weights.usable("diffusion")] == ["pocket", "photo", "folder", "flux"]


def test_the_webui(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = home / "here" / "webui"
    file(program / "models" / "Stable-diffusion" / "paint.safetensors", CHECKPOINT)
    file(program / "embeddings" / "word.safetensors", {"emb_params": (1, 768)})
    file(program / "models" / "ESRGAN" / "sharp.safetensors")
    assert elsewhere() == []
    monkeypatch.setenv("WEBUI_DIR", str(program))
    assert elsewhere() == [
        ("paint", "diffusion", "WebUI"),
        ("word", "embedding", "WebUI"),
        ("sharp", "gan", "WebUI"),
    ]


def test_extra_model_paths(home: Path) -> None:
    comfy = home / "ComfyUI"
    comfy.mkdir()
    file(home / "shared" / "ckpt" / "one.safetensors", CHECKPOINT)
    file(home / "shared" / "a" / "two.safetensors", {"lora_unet_x.lora_down.weight": (4, 4)})
    file(home / "shared" / "b" / "three.safetensors", {"lora_unet_x.lora_down.weight": (4, 4)})
    (comfy / "extra_model_paths.yaml").write_text(
        "a111:\n    base_path: ../shared/\n    checkpoints: ckpt\n    loras: |\n        a\n        b\n"
        "comfyui:\n    is_default: true\nother: 3\n"
    )
    assert elsewhere() == [
        ("one", "diffusion", "ComfyUI"),
        ("two", "lora", "ComfyUI"),
        ("three", "lora", "ComfyUI"),
    ]
    for broken in ("[", "just text", "a: [1, 2]", ""):
        (comfy / "extra_model_paths.yaml").write_text(broken)
        assert elsewhere() == []


def test_linking_a_program(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = comfyui(home / "somewhere" / "comfy")
    assert cli.main(["models", "link", str(program)]) == 0
    assert "ComfyUI: diffusion models in" in capsys.readouterr().out
    assert elsewhere() == ALL
    assert cli.main(["models", "link", str(program)]) == 0
    assert json.loads((home / "data" / "places.json").read_text()) == {"programs": [str(program)]}
    with pytest.raises(SettingsError, match="neither a ComfyUI"):
        places.link(home)
    (home / "data" / "places.json").write_text('{"programs": [1, {}], "x": 2}')
    assert elsewhere() == []


def test_the_cache_of_the_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    repository = home / "hf" / "hub" / "models--someone--some-model"
    snapshot = repository / "snapshots" / "abc"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    assert elsewhere() == [], "a download that has not ended"
    file(snapshot / "unet" / "diffusion_pytorch_model.safetensors")
    (snapshot / "unet" / "config.json").write_text('{"cross_attention_dim": 2048, "sample_size": 128}')
    assert elsewhere() == [("someone/some-model", "diffusion", "Hugging Face cache")]
    assert weights.find("someone/some-model", "diffusion") == snapshot
    assert weights.get("someone/some-model", "diffusion").family == "SDXL"
    with pytest.raises(WeightsNotFound):
        weights.find("someone/other", "diffusion")


def test_the_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comfyui(home / "ComfyUI")
    assert cli.main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    photo = rows["photo"]
    assert (photo["kind"], photo["family"], photo["place"]) == ("diffusion", "SD 1.x", "ComfyUI")
    assert photo["purpose"] == "redraws tiles (--model)"
    assert Path(photo["path"]).is_file()
    assert rows["realesrgan-x4plus"]["place"] == "bundled"
    assert cli.main(["models", "list", "lora"]) == 0
    (line, more) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["style", "lora"]
    assert more.startswith("To add more")
