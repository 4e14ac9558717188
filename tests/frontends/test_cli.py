"""The command line, run as a person would: a process, its output, its exit code, and the files it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import upscaler
from upscaler import weights
from upscaler.cli import main
from upscaler.cli.help import COMMON
from upscaler.options.settings import Settings, options
from upscaler.pictures.files import load, read_settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd

ROOT = Path(upscaler.__file__).parents[1]
FAST = ("-n", "realesr-animevideov3", "-m", "none")


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "upscaler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "small.png"
    photograph = load(ROOT / "examples" / "photo.png")
    upscaler.save(upscaler.Picture(photograph.pixels[200:248, 100:164].copy(), text={"parameters": "a hill"}), path)
    return path


def test_every_setting_has_its_flag() -> None:
    text = run("run", "--help-all").stdout
    assert all(flag in text for option in options() for flag in option.spec.flags)


def test_the_short_help_shows_the_ten_options_that_people_use() -> None:
    text = run("run", "--help").stdout
    assert {flag for flag in COMMON if flag in text} == COMMON
    shown = {line.split()[0].rstrip(",") for line in text.splitlines() if line.startswith("  -")}
    assert len(shown) == len(COMMON) + 2, "and --help and --help-all"
    assert len(text.splitlines()) < 40
    assert "--wavelet-color" not in text


def test_a_picture_is_enlarged_and_says_where(small: Path, tmp_path: Path) -> None:
    done = run("run", small, "-o", tmp_path / "large.png", *FAST, "--compare")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "large.png"), str(tmp_path / "large-compare.png")]
    assert "100%" in done.stderr
    large = load(tmp_path / "large.png")
    assert large.size == (256, 192)
    assert large.text["parameters"] == "a hill"
    assert load(tmp_path / "large-compare.png").size.height > 2 * 190


def test_settings_come_back_with_like(small: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.webp"
    assert run("run", small, "-o", first, *FAST, "--size", "100x90", "--quality", "80").returncode == 0
    stored = read_settings(first)
    assert stored is not None
    assert stored["target"]["width"] == 100
    assert json.loads(run("inspect", first, "--json").stdout) == stored
    summary = run("inspect", first).stdout
    assert "100 x 90 px" in summary
    assert "realesr-animevideov3" in summary
    assert "--quality 80" in summary
    assert len(summary.splitlines()) < 10
    again = run("run", small, "-o", tmp_path / "again.webp", "--like", first)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.webp").read_bytes() == first.read_bytes()
    assert run("run", small, "-o", tmp_path / "other.png", "--like", first, "-s", "2").returncode == 0
    assert load(tmp_path / "other.png").size == (128, 96)


def test_presets_are_looks_that_flags_win_over(small: Path, tmp_path: Path) -> None:
    assert run("run", small, "-o", tmp_path / "a.png", *FAST, "-s", "2", "--steps", "7").returncode == 0
    assert run("presets", "save", "of-cli", "--preset", "texture", "--strength", "0.3", "-s", "3").returncode == 0
    assert run("presets", "save", "of-cli").returncode == 2
    assert "--strength 0.3" in run("presets", "show", "of-cli").stdout
    listed = [json.loads(line) for line in run("presets", "list", "--json").stdout.splitlines()]
    assert listed[0]["name"] == "photo"
    assert listed[-1] == {"name": "of-cli", "title": "Of cli", "help": "", "builtin": False,
                          "values": {"strength": 0.3, "seam_strength": 0.6, "wavelet_denoise": 0.0}}  # fmt: skip

    done = run("run", small, "-o", tmp_path / "b.png", "--like", tmp_path / "a.png", "--preset", "of-cli", "-m", "none",
               "-n", "none", "--steps", "5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_settings(tmp_path / "b.png") == Settings.of(
        scale=2, strength=0.3, seam_strength=0.6, steps=5, wavelet_denoise=0, gan="none", model="none"
    ).to_dict()  # fmt: skip

    assert run("presets", "export", "of-cli", "-o", tmp_path / "look.json").returncode == 0
    again = run("presets", "export", "of-cli", "-o", tmp_path / "look.json")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "already exists" in again.stderr
    wrong = run("presets", "save", "mine", "--strength", "2")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 2)
    assert run("presets", "delete", "of-cli").returncode == 0
    assert run("presets", "import", tmp_path / "look.json", "--name", "again").returncode == 0
    assert json.loads(run("presets", "export", "again").stdout)["values"] == listed[-1]["values"]
    assert run("presets", "delete", "again").returncode == 0
    for arguments in (["show", "of-cli"], ["delete", "photo"], ["import", str(small)], ["import", "missing.json"]):
        wrong = run("presets", *arguments)
        assert wrong.returncode == 2
        assert len(wrong.stderr.splitlines()) == 1


def test_many_pictures_go_into_a_folder_and_a_bad_one_does_not_stop_them(small: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    for name in ("a.png", "c.png"):
        shutil.copy(small, pictures / name)
    (pictures / "b.png").write_bytes(b"no picture")
    done = run("run", pictures, "-o", f"{tmp_path / 'out'}/", *FAST, "-s", "2", "-q")
    assert done.returncode == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a-large.png", "c-large.png"]
    assert "b.png" in done.stderr
    assert "Traceback" not in done.stderr
    shutil.copy(small, pictures / "d.png")
    again = run("run", pictures, "-o", f"{tmp_path / 'out'}/", *FAST, "-s", "2", "--json")
    *events, summary = (json.loads(line) for line in again.stdout.splitlines())
    assert again.returncode == 1
    assert [Path(event["input"]).name for event in events if event["event"] == "picture"] == ["d.png"]
    states = {Path(picture["input"]).name: picture["state"] for picture in summary["pictures"]}
    assert states == {"a.png": "skipped", "b.png": "failed before", "c.png": "skipped", "d.png": "done"}
    shutil.copy(small, pictures / "b.png")  # mended, so it is another picture than the one that failed
    assert run("run", pictures, "-o", f"{tmp_path / 'out'}/", *FAST, "-s", "2", "-q").returncode == 0
    assert (tmp_path / "out" / "b-large.png").exists()


def test_events_as_json(small: Path, tmp_path: Path) -> None:
    done = run("run", small, "-o", tmp_path / "out.png", *FAST, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events][-1] == "finished"
    assert events[-1]["output"] == str(tmp_path / "out.png")
    told = [event for event in events if event["event"] == "progress"]
    assert told[-1]["fraction"] == told[-1]["overall"] == 1
    assert all(event["seconds_left"] >= 0 for event in told)
    assert sorted(event["overall"] for event in told) == [event["overall"] for event in told]
    assert done.stderr == ""


def test_plan_says_all_without_loading_a_model(small: Path) -> None:
    text = run("plan", small, "-s", "16").stdout
    assert "64x48 -> 1024x768" in text
    assert "realesrgan-x4plus" in text
    values = json.loads(run("plan", small, "-s", "16", "--json").stdout)
    assert values["target"] == [1024, 768]
    assert values["grid"] == [2, 2]
    assert values["evaluations"] >= 6
    assert run("run", small, "--dry-run", "-s", "16").stdout == text


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pocket", "sd"])
def test_all_tiles_are_denoised_together(model: str, tmp_path: Path) -> None:
    """The whole command in joint mode: a picture with the colours of its source, and no joints between its nine tiles."""
    photograph = load(ROOT / "examples" / "photo.png")
    upscaler.save(upscaler.Picture(photograph.pixels[208:304, 208:304].copy()), tmp_path / "crop.png")
    name = str(make_sd(tmp_path / "sd")) if model == "sd" else model
    options = ["-m", name, "-n", "realesr-animevideov3", "--tile", "192", "--overlap", "64", "--feather", "32",
               "--strength", "0.4", "-p", "a photograph", "--device", "cpu", "--precision", "float32", "--json"]  # fmt: skip
    done = run("run", tmp_path / "crop.png", "-o", tmp_path / "joint.png", "--mode", "joint", *options)
    assert done.returncode == 0, done.stderr
    finished = json.loads(done.stdout.splitlines()[-1])
    score = finished["seams"]["after"]
    assert score["worst"] < max(1, 1.5 * score["inside"]), (
        "an eye sees 1/255, unless all is rough, as random weights draw"
    )
    joint = load(tmp_path / "joint.png")
    assert joint.size == (384, 384)
    stored = read_settings(tmp_path / "joint.png")
    assert stored is not None
    assert stored["tiles"]["mode"] == "joint"
    small = joint.pixels.reshape(96, 4, 96, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - photograph.pixels[208:304, 208:304]).mean() < 0.02
    assert run("run", tmp_path / "crop.png", "-o", tmp_path / "tiles.png", *options).returncode == 0
    assert (load(tmp_path / "tiles.png").pixels != joint.pixels).any()


def test_a_run_teaches_the_plan_how_long_it_takes(small: Path, tmp_path: Path) -> None:
    options = (*FAST, "-s", "2", "--precision", "float32")
    assert json.loads(run("plan", small, *options, "--json").stdout)["seconds"] > 0
    assert ": 128x96, about " in run("plan", small, *options).stdout.splitlines()[0]
    done = run("run", small, "-o", tmp_path / "a.png", *options, "--json").stdout.splitlines()
    spent = sum(json.loads(done[-1])["seconds"].values())
    assert json.loads(run("plan", small, *options, "--json").stdout)["seconds"] == pytest.approx(spent, abs=0.01)
    assert "time     about" in run("plan", small, *options).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.png"], 3, ["missing.png"]),
        (["SMALL", "-s", "99"], 2, ["99", "0.5 to 16"]),
        (["SMALL", "--size", "wide"], 2, ["wide", "3840x2160"]),
        (["SMALL", "--width", "9000"], 2, ["9000", "16"]),
        (["SMALL", "--scale", "2", "--width", "90"], 2, ["--scale and --width", "give only one"]),
        (["SMALL", "--strenght", "0.5"], 2, ["--strenght", "did you mean --strength?"]),
        (["SMALL", "--zzz"], 2, ["--zzz", "upscaler run --help"]),
        (["SMALL", "--overlap", "400", "--tile", "512"], 2, ["--overlap: 400 px", "raise --tile"]),
        (["SMALL", "-n", "realesrgan-x5"], 4, ["realesrgan-x5", "did you mean"]),
        (["SMALL", "-m", "no-such-model"], 4, ["no-such-model"]),
        (["SMALL", "-m", "TEXT"], 4, ["diffusers folder"]),
        (["SMALL", "-o", "out.xyz"], 3, [".xyz"]),
        (["SMALL", "-o", "SMALL"], 3, ["exists"]),
        (["SMALL", "--device", "cuda:7", "-m", "none"], 2, ["cuda:7", "cpu"]),
        (["SMALL", "--like", "SMALL"], 2, ["no settings"]),
        (["TEXT"], 3, ["notes.txt"]),
        (["EMPTY"], 3, ["no pictures"]),
    ],
)
def test_mistakes_get_one_line(arguments: list[str], code: int, words: list[str], small: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    places = {"SMALL": str(small), "TEXT": str(tmp_path / "notes.txt"), "EMPTY": str(tmp_path / "empty")}
    arguments = [places.get(argument, argument) for argument in arguments]
    extra = [] if "-o" in arguments else ["-o", str(tmp_path / "out.png")]
    done = run("run", *arguments, *extra, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert all(word in last for word in words), last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_models(tmp_path: Path) -> None:
    listed = run("models", "list").stdout
    assert all(
        name in listed
        for name in ("realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3", "pocket", "BSD-3-Clause")
    )
    assert run("models", "verify").stdout.count("ok") == 4
    assert Path(run("models", "path", "realesr-animevideov3").stdout.strip()).is_file()
    assert run("models", "path").returncode == 2


def test_doctor_reports_health() -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    facts = json.loads(done.stdout)["facts"]
    assert "device cpu" in facts
    assert facts["model realesrgan-x4plus"] == "ok"


def test_doctor_prints_how_each_way_to_run_a_network_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = weights.get("realesr-animevideov3", "gan")
    monkeypatch.setattr(weights, "bundled", lambda: (small,))
    assert main(["doctor", "--benchmark", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["benchmark"]
    ways = {row["way"]: row for row in rows}
    assert {row["model"] for row in rows} == {"realesr-animevideov3"}
    assert ways["torch float32 channels-last"]["mean"] < 0.01
    assert min(row["speed"] for row in rows if row["speed"]) == 1
    assert [row["chosen"] for row in rows].count(True) == 1
    assert main(["doctor", "--benchmark"]) == 0
    table = capsys.readouterr().out
    assert "realesr-animevideov3 on cpu" in table
    assert table.count("   chosen\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_stops_soon_and_keeps_what_was_finished(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "upscaler", "run", str(ROOT / "examples" / "photo.png"), "-o", str(tmp_path / "out.png"),
               "-n", "realesr-animevideov3", "--steps", "20", "--json"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if event.get("stage") == "refine" and event["step"] >= 2:
                break
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        message = process.stderr.read()
        assert process.wait() == 130, message
        assert time.monotonic() - start < 30
    assert "out.partial.png" in message
    assert not (tmp_path / "out.png").exists()
    assert load(tmp_path / "out.partial.png").size == (2048, 2048)


def test_the_python_api_gives_the_bytes_of_the_command(small: Path, tmp_path: Path) -> None:
    assert run("run", small, "-o", tmp_path / "cli.png", *FAST, "-s", "3", "-q").returncode == 0
    picture = upscaler.upscale(small, 3, gan="realesr-animevideov3", model="none")
    upscaler.save(picture, tmp_path / "api.png")
    np.testing.assert_array_equal(load(tmp_path / "api.png").pixels, load(tmp_path / "cli.png").pixels)
