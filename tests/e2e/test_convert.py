"""Pickles turned into safetensors: the same numbers, nothing run, nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.headers import Evil
from upscaler import cli
from upscaler.errors import SettingsError, UnsupportedModel
from upscaler.models.convert import VALUES, convert

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def test_a_training_checkpoint_becomes_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.ckpt"
    torch.save({"state_dict": STATE, "epoch": 3, "optimizer": {"x": torch.zeros(9)}}, file)
    assert cli.main(["models", "convert", str(file)]) == 0
    target = tmp_path / "model.safetensors"
    assert capsys.readouterr().out.strip() == str(target)
    found = load_file(target)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    with pytest.raises(SettingsError, match="already exists; name another file with -o"):
        convert(file)


def test_tables_in_tables_keep_their_names_and_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "adapter.pkl"
    shared = torch.ones(3)
    torch.save({"rank": 4, "modules": ["a", "b"], "state_dict_unet": {"x": shared, "y": shared}}, file)
    target = convert(file, tmp_path / "out.safetensors")
    assert load_file(target).keys() == {"state_dict_unet.x", "state_dict_unet.y"}
    with safe_open(target, "pt") as opened:
        assert json.loads(opened.metadata()[VALUES]) == {"rank": 4, "modules": ["a", "b"]}


def test_what_is_no_weights_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = tmp_path / "code.ckpt"
    torch.save({"x": Evil(marker)}, code)
    text = tmp_path / "text.ckpt"
    text.write_text("hello")
    broken = tmp_path / "broken.ckpt"
    torch.save(STATE, broken)
    content = broken.read_bytes()
    broken.write_bytes(content[:200] + b"\0" * 50 + content[250:])
    for file in (code, text, broken, tmp_path / "nowhere.ckpt"):
        with pytest.raises((SettingsError, UnsupportedModel)) as caught:
            convert(file)
        assert len(str(caught.value).splitlines()) == 1
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.ckpt", "code.ckpt", "text.ckpt"]
