"""The list of models, how a name becomes a path, and the checksums. No torch here."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from upscaler import places, weights
from upscaler.errors import ChecksumMismatch, UnsupportedModel, WeightsNotFound
from upscaler.headers import header_of
from upscaler.weights import File, Model


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the user's models is an empty one."""
    monkeypatch.setenv("UPSCALER_MODELS", "")
    monkeypatch.setattr(weights.folders, "data_folder", lambda: tmp_path)
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("model", weights.bundled(), ids=lambda model: model.name)
def test_bundled_files_are_what_the_manifest_says(model: Model) -> None:
    weights.verify(model)
    assert model.path.exists()
    assert model.bundled
    assert all((model.licence, model.author, model.source, model.description, model.architecture))
    if model.kind == "gan":
        assert model.scale is not None
        assert model.halo is not None
        assert model.path in model.files


def test_the_manifest_covers_every_weight_file() -> None:
    declared = {path for model in weights.bundled() for path in model.files}
    there = {path for suffix in places.SUFFIXES for path in weights.bundled_folder().rglob(f"*{suffix}")}
    assert there <= declared


def test_the_three_gan_models_are_bundled() -> None:
    names = {model.name for model in weights.bundled() if model.kind == "gan"}
    assert names == {"realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3"}


@pytest.mark.parametrize("spelling", ["realesrgan-x4plus", "realesrgan-x4plus.safetensors"])
def test_a_bundled_model_is_found_by_name(spelling: str) -> None:
    assert weights.find(spelling, "gan") == weights.bundled_folder() / "realesrgan-x4plus.safetensors"


def test_a_bundled_model_is_recognised_by_its_path() -> None:
    model = weights.get("realesrgan-x4plus", "gan")
    assert weights.get(model.path, "gan") is model


def test_user_models_are_listed_after_the_bundled_ones(folders: Path) -> None:
    for name in ("b.pth", "a.safetensors", "notes.txt", "b.safetensors"):
        (folders / name).write_bytes(b"x" * 10)
    (folders / "painter").mkdir()
    (folders / "painter" / "model_index.json").write_text("{}")
    for name, config in (
        ("tile", '{"_class_name": "ControlNetModel"}'),
        ("unet", '{"_class_name": "UNet"}'),
        ("x", "["),
    ):
        (folders / name).mkdir()
        (folders / name / "config.json").write_text(config)
    (folders / "no-model").mkdir()
    mine = weights.models()[len(weights.bundled()) :]
    assert [(model.name, model.kind, model.path.name) for model in mine] == [
        ("a", "gan", "a.safetensors"),
        ("b", "gan", "b.safetensors"),
        ("b", "gan", "b.pth"),
        ("painter", "diffusion", "painter"),
        ("tile", "control", "tile"),
    ]
    assert not any(model.bundled for model in mine)
    assert [model.bytes for model in mine] == [10, 10, 10, 2, 34]
    assert weights.find("b", "gan") == folders / "b.safetensors", "safetensors is preferred"
    assert weights.find("b.pth", "gan") == folders / "b.pth"
    assert weights.find("painter", "diffusion") == folders / "painter"
    assert weights.find("tile", "control") == folders / "tile"


def test_folders_in_the_environment_come_first(tmp_path: Path, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two, folders):
        folder.mkdir(exist_ok=True)
        (folder / "same.pth").touch()
    monkeypatch.setenv("UPSCALER_MODELS", weights.os.pathsep.join([str(one), str(two), str(tmp_path / "missing")]))
    assert weights.find("same", "gan") == one / "same.pth"
    assert [model.path.parent for model in weights.models("gan") if model.name == "same"] == [one, two, folders]


def test_a_path_need_not_lie_in_a_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "4x-mine.pth"
    file.touch()
    monkeypatch.chdir(tmp_path)
    for spelling in (file, str(file), "4x-mine.pth", "./4x-mine.pth"):
        model = weights.get(spelling, "gan")
        assert (model.name, model.path, model.scale, model.halo) == ("4x-mine", file, None, None)


@pytest.mark.parametrize("wanted", ["", "x" * 5000, "a\0b", "stable/diffusion", "../nowhere.pth"])
def test_what_is_not_there_is_refused_in_one_line(wanted: str, folders: Path) -> None:
    with pytest.raises(WeightsNotFound) as caught:
        weights.find(wanted, "gan")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(folders) in message
    assert "realesrgan-x4plus" in message


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(WeightsNotFound, match="did you mean realesrgan-x4plus or"):
        weights.find("realesrgan-x4pluss", "gan")


def test_kinds_do_not_mix() -> None:
    with pytest.raises(WeightsNotFound, match="no diffusion model 'realesrgan-x4plus'"):
        weights.find("realesrgan-x4plus", "diffusion")


def test_a_changed_file_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    contents = {"config.json": b"{}", "unet/weights.safetensors": b"0123456789"}
    files: dict[Path, File] = {}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        files[path] = File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    model = Model(name="small", kind="diffusion", path=folder, files=files)
    weights.verify(model)
    changed = folder / "unet/weights.safetensors"
    for content, problem in ((b"0123456780", "wrong SHA-256"), (b"01234", "5 bytes instead of 10")):
        changed.write_bytes(content)
        with pytest.raises(ChecksumMismatch, match=problem) as caught:
            weights.verify(model)
        assert str(changed) in str(caught.value)
    changed.unlink()
    with pytest.raises(ChecksumMismatch, match="missing"):
        weights.verify(model)


def test_a_user_model_has_nothing_to_verify(folders: Path) -> None:
    (folders / "mine.pth").touch()
    weights.verify(weights.get("mine", "gan"))


def test_a_zip_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as member:
        for _ in range(220):
            member.write(bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(UnsupportedModel, match="table of weights is above"):
        header_of(bomb)
