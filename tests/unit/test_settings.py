"""One table of settings: complete, valid, and the same for everyone who reads it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from upscaler.errors import SettingsError
from upscaler.geometry import Size
from upscaler.options.settings import Settings, Target, options, with_names


def test_every_option_has_one_name_a_flag_and_help() -> None:
    table = options()
    assert len({option.name for option in table}) == len(table)
    assert all(option.spec.flags[0].startswith("--") and option.spec.help for option in table)
    short = [flag for option in table for flag in option.spec.flags[1:]]
    assert len(set(short)) == len(short)


def test_defaults_are_within_their_own_limits() -> None:
    for option in options():
        assert option.check(option.default) == option.default


def test_names_reach_their_fields() -> None:
    settings = Settings.of(scale=2, seam_width=48, tile=768, prompt="a tree", batch=3)
    assert (settings.target.scale, settings.seams.width, settings.tiles.tile) == (2.0, 48, "768")
    assert settings.diffusion.sampling.prompt == "a tree"


@pytest.mark.parametrize(
    ("name", "given", "plain"),
    [
        ("strength", np.float64(0.25), 0.25),
        ("strength", np.float32(0.5), 0.5),
        ("strength", Fraction(1, 4), 0.25),
        ("scale", np.int64(2), 2.0),
        ("steps", np.uint8(7), 7),
        ("bit_depth", np.int32(16), 16),
        ("tile", np.int64(768), "768"),
        ("gan", Path("models") / "m.pth", str(Path("models") / "m.pth")),
    ],
)
def test_numbers_and_paths_of_every_kind_become_plain_values(name: str, given: object, plain: object) -> None:
    settings = Settings.of(**{name: given})
    found = next(settings.value(option) for option in options() if option.name == name)
    assert found == plain
    assert type(found) is type(plain)
    assert Settings.from_dict(json.loads(settings.to_json())) == settings


def test_dict_and_json_come_back() -> None:
    settings = Settings.of(scale=3, width=900, strength=0.4, dither=False)
    assert Settings.from_dict(settings.to_dict()) == settings
    assert '"strength": 0.4' in settings.to_json()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"scale": 40}, ["target.scale", "40", "0.5 to 16"]),
        ({"scal": 2}, ["scal", "did you mean scale"]),
        ({"overlap": 300, "tile": 512}, ["tiles.overlap", "300", "512"]),
        ({"feather": 100}, ["tiles.feather", "100", "64"]),
        ({"tile": "huge"}, ["tiles.tile", "huge", "auto"]),
        ({"tile": 20}, ["tiles.tile", "20", "64"]),
        ({"scheduler": "best"}, ["diffusion.scheduler", "best", "euler"]),
        ({"bit_depth": 9}, ["output.bit_depth", "9", "16"]),
        ({"steps": True}, ["diffusion.steps", "True"]),
        ({"steps": np.float64(2)}, ["diffusion.steps", "2.0"]),
        ({"strength": True}, ["diffusion.strength", "True"]),
        ({"scale": 10**400}, ["target.scale", "0.5 to 16"]),
        ({"gan": 1.5}, ["gan.model", "1.5", "text"]),
        ({"gan": b"m.pth"}, ["gan.model", "text"]),
        ({"strength": float("nan")}, ["diffusion.strength", "nan"]),
        ({"megapixels": 1.0, "width": 100}, ["megapixels", "width"]),
        ({"device": "tpu"}, ["hardware.device", "tpu", "cuda"]),
    ],
)
def test_bad_values_are_named_in_one_line(values: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.of(**values)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_a_message_calls_a_setting_as_its_front_end_does() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.of(overlap=300, tile=512)
    told = with_names(f"a.b.png: {caught.value}", lambda option: option.spec.flags[0])
    assert told.startswith("a.b.png: --overlap: 300 px")
    assert told.endswith("raise --tile")


def test_unknown_stored_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"tiles\.tyle"):
        Settings.from_dict({"tiles": {"tyle": 3}})
    with pytest.raises(SettingsError, match="tiles"):
        Settings.from_dict({"tiles": 3})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(), Size(400, 200)),
        (Target(scale=2.5), Size(250, 125)),
        (Target(width=333), Size(333, 166)),
        (Target(height=100), Size(200, 100)),
        (Target(width=300, height=300), Size(300, 300)),
        (Target(megapixels=0.02), Size(200, 100)),
    ],
)
def test_targets(target: Target, expected: Size) -> None:
    assert target.of(Size(100, 50)) == expected


def test_targets_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"this is 50 times"):
        Target(width=5000).of(Size(100, 50))
    assert Target(scale=0.5).of(Size(1, 1)) == Size(1, 1)


@pytest.mark.parametrize("value", [10**6000, -(10**6000), "9" * 5000, [0] * 5000, "a\nb"], ids=range(5))
def test_a_value_of_any_length_is_refused_in_a_short_line(value: object) -> None:
    for name in ("width", "seed", "strength", "tile", "order"):
        with pytest.raises(SettingsError) as caught:
            Settings().but(**{name: value})
        assert len(str(caught.value)) < 400
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError):
        Settings.from_dict({"target": value})
