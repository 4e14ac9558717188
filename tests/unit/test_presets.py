"""Looks by name: the built-in ones, the user's own, and what comes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upscaler import folders, weights
from upscaler.errors import SettingsError
from upscaler.options import presets
from upscaler.options.presets import Preset
from upscaler.options.settings import Settings, options


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "data_folder", lambda: tmp_path / "data")
    return tmp_path / "data" / "presets"


def test_the_built_in_ones_are_there_and_run_with_what_is_bundled() -> None:
    found = presets.presets()
    assert [preset.name for preset in found] == ["photo", "art", "anime", "texture", "faithful", "fast"]
    bundled = {model.name for model in weights.bundled()} | {"none"}
    for preset in found:
        assert preset.builtin
        assert preset.title
        assert preset.help.endswith(".")
        settings = preset.over(Settings())
        assert {settings.gan.model, settings.diffusion.model} <= bundled
        assert presets.get(preset.name) is preset
        default = Settings()
        table = {option.name: option for option in options()}
        assert all(settings.value(table[name]) != default.value(table[name]) for name in preset.values)
    assert len({preset.over(Settings()).to_json() for preset in found}) == len(found)


def test_a_preset_is_a_whole_look_and_leaves_the_rest() -> None:
    before = Settings.of(scale=3, seed=9, quality=70, device="cpu", prompt="a barn", steps=9, gan="none")
    after = presets.get("photo").over(before)
    assert after == Settings.of(scale=3, seed=9, quality=70, device="cpu", prompt="a barn")
    named = Preset("x", "X", "", {"prompt": "a hill"})
    assert named.over(before).diffusion.prompt == "a hill"


def test_saving_keeps_the_look_only(home: Path) -> None:
    settings = Settings.of(
        scale=2, seed=5, strength=0.4, seam_width=48, negative="blur", format="webp", batch=3, device="cpu"
    )
    saved = presets.save("my-look", settings)
    assert saved == presets.get("my-look") == presets.presets()[-1]
    assert saved.values == {"strength": 0.4, "seam_width": 48, "negative": "blur"}
    assert (saved.title, saved.builtin) == ("My look", False)
    assert [file.name for file in home.iterdir()] == ["my-look.json"], "no drafts are left"
    with pytest.raises(SettingsError, match="already exists"):
        presets.save("my-look", settings)
    presets.save("my-look", Settings(), overwrite=True)
    assert presets.get("my-look").values == {}
    presets.delete("my-look")
    with pytest.raises(SettingsError, match="my-look: does not exist"):
        presets.delete("my-look")


def test_json_comes_back() -> None:
    for preset in presets.presets():
        again = presets.from_json(presets.to_json(preset))
        assert (again.name, again.title, again.help, again.values) == (
            preset.name,
            preset.title,
            preset.help,
            preset.values,
        )
        assert not again.builtin


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"preset fotos?: does not exist.*photo"):
        presets.get("foto")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../evil",
        "a/b",
        "a\\b",
        "C:x",
        "con",
        "lpt1",
        ".hidden",
        "Mine",
        "a" * 41,
        "a\0b",
        "a.json",
        "ä",
        "a\n",
        "x y",
    ],
)
def test_names_cannot_leave_the_folder(name: str, home: Path) -> None:
    for call in (
        lambda: presets.get(name),
        lambda: presets.save(name, Settings()),
        lambda: presets.delete(name),
        lambda: presets.from_json(json.dumps({"name": name, "values": {}})),
    ):
        with pytest.raises(SettingsError, match="is not allowed") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not home.exists()


def test_a_built_in_name_is_taken() -> None:
    for call in (lambda: presets.save("photo", Settings(), overwrite=True), lambda: presets.delete("photo")):
        with pytest.raises(SettingsError, match="photo: is built in"):
            call()


def _text(**values: object) -> str:
    return json.dumps({"name": "x", "title": "X", "help": "", "values": values})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not JSON"]),
        ("[1]", ["not a JSON object"]),
        ("[" * 30000, ["JSON"]),
        ('{"name": 3, "values": {}}', ["name"]),
        ('{"name": "x", "values": [1]}', ["values"]),
        ('{"name": "x", "title": "a\\nb", "values": {}}', ["title", "one line"]),
        ('{"name": "x", "help": 5, "values": {}}', ["help"]),
        (_text(strenght=1), ["strenght", "did you mean strength"]),
        (_text(strength=2), ["diffusion.strength", "0 to 1"]),
        (_text(steps=[[1]]), ["diffusion.steps"]),
        (_text(strength=float("nan")), ["diffusion.strength"]),
        (_text(overlap=400, tile="512"), ["tiles.overlap"]),
        (_text(scale=2), ["cannot set scale"]),
        (_text(overwrite=True), ["cannot set overwrite"]),
        (_text(model="/home/me/model"), ["model", "name a model"]),
        (_text(gan="..\\evil.pth"), ["gan", "name a model"]),
        (_text(model="../../x"), ["model", "name a model"]),
        (_text(prompt="x" * 70000), ["64 KiB"]),
        (_text(steps=list(range(9000))), ["diffusion.steps"]),
    ],
)
def test_what_comes_from_elsewhere_is_checked(text: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        presets.from_json(text)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert len(message) < 400


def test_names_of_models_and_hub_ids_may_come_from_elsewhere() -> None:
    assert presets.from_json(_text(model="author/model-1.5", gan="4x-Ultra.pth")).values["model"] == "author/model-1.5"


def test_the_users_own_models_may_lie_anywhere(tmp_path: Path) -> None:
    presets.save("mine", Settings.of(model=str(tmp_path / "sd")))
    assert presets.get("mine").values == {"model": str(tmp_path / "sd")}


def test_damaged_files_are_left_out_and_said_by_name(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "broken.json").write_text("{")
    (home / "binary.json").write_bytes(b"\xff\xfe\x00")
    (home / "large.json").write_text(" " * 70000)
    (home / "Not A Name.json").write_text(_text())
    (home / "folder.json").mkdir()
    (home / "good.json").write_text(_text(steps=3))
    assert [preset.name for preset in presets.presets() if not preset.builtin] == ["good"]
    with pytest.raises(SettingsError, match=r"broken\.json"):
        presets.get("broken")
