"""The command line when the machine fails it: streams that are closed or full, names, disks, and signals."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import upscaler
from upscaler.pictures.files import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams and signals of POSIX")

ROOT = Path(upscaler.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FAST = "-n none -m none -s 2"


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = line.replace("upscaler ", f"{sys.executable} -m upscaler ")
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=120)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was said on stderr; one line for each fault."""
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("upscaler: ")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        upscaler.save(upscaler.Picture(np.full((16, 20, 3), 0.5, np.float32)), tmp_path / f"{name}.png")
    return tmp_path


def test_a_full_or_closed_stdout_does_not_stop_a_batch(place: Path) -> None:
    full = shell(f"upscaler run a.png b.png -o full/ -q {FAST} > /dev/full", place)
    assert full.returncode == 1
    (line,) = told(full)
    assert line == "upscaler: standard output: no space left on device; continuing without it"
    closed = shell(f"upscaler run a.png b.png -o closed/ -q {FAST} >&-", place)
    assert told(closed) == []
    left = shell(f"(upscaler run a.png b.png -o left/ -q --json {FAST}; echo code $? >&2) | head -c 1", place)
    assert told(left) == []
    assert "code 1" in left.stderr
    for folder in ("full", "closed", "left"):
        for name in ("a", "b"):
            assert load(place / folder / f"{name}-large.png").size == (40, 32)
    for line in ("upscaler models list > /dev/full", "upscaler presets list 2>/dev/full >/dev/full"):
        done = shell(line, place)
        assert done.returncode == 1
        assert len(told(done)) == line.count("list > ")


def test_wherever_a_result_cannot_be_it_is_one_line(place: Path) -> None:
    (place / "locked").mkdir()
    for output, words in (
        ("a.png/x.png", "a.png"),
        ("a.png/below/", "a.png"),
        (f"{'n' * 252}.png", "too long"),
        ("/proc/new/", "/proc/new"),
        ("/dev/null", "/dev/null"),
    ):
        done = shell(f"upscaler run b.png -o {output} -q {FAST} --overwrite --format png", place)
        (line,) = told(done)
        assert words in line
        assert done.returncode == 3, line


def test_a_long_name_does_not_stop_a_folder(place: Path) -> None:
    long = "n" * 246
    shutil.copy(place / "a.png", place / f"{long}.png")
    shutil.copy(place / "a.png", place / f"{long}m.png")
    done = shell(f"upscaler run . -o out/ -q {FAST}", place)
    assert done.returncode == 0, done.stderr
    assert told(done) == []
    assert len([name for name in os.listdir(place / "out") if name.endswith("-large.png") or "-2" in name]) == 4


def test_names_that_no_file_can_have_are_one_line(place: Path) -> None:
    done = shell(f"upscaler run {'n' * 300}.png -o x.png -q {FAST}; upscaler plan {'n' * 300} a.png", place)
    assert len(told(done)) == 2


def test_a_full_disk_names_the_result(place: Path) -> None:
    """A limit to the size of a file fails as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    noise = np.random.default_rng(0).random((64, 64, 3), np.float32)
    upscaler.save(upscaler.Picture(noise), place / "noise.png")
    command = [sys.executable, "-m", "upscaler", "run", "noise.png", "-o", "out.png", "-q", *FAST.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=ENVIRONMENT, preexec_fn=limit)
    (line,) = told(done)
    assert line.startswith("upscaler: out.png: cannot be written (File too large)")
    assert "the finished part could not be kept (out.partial.png: " in line
    assert not (place / "out.png").exists()
    assert [name for name in os.listdir(place) if "part" in name] == []


SLOW = ("-n", "none", "-s", "8", "-m", "pocket", "--steps", "60", "--strength", "0.9", "--json")


def start(place: Path, *, wait: bool = True) -> subprocess.Popen[str]:
    noise = np.random.default_rng(0).random((64, 64, 3), np.float32)
    upscaler.save(upscaler.Picture(noise), place / "noise.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "upscaler", "run", "noise.png", "-o", "out.png", "--no-keep-progress", *SLOW],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    if wait:
        for line in process.stdout:
            event = json.loads(line)
            if event.get("stage") == "refine" and event["step"] >= 1:
                break
    return process


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGHUP"))]
)
def test_signals_keep_what_was_finished(name: str, place: Path) -> None:
    number = getattr(signal, name)
    with start(place) as process:
        process.send_signal(number)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 128 + number, message
    assert message.strip() == "upscaler: stopped; the finished part is in out.partial.png"
    assert load(place / "out.partial.png").size == (512, 512)
    assert not (place / "out.png").exists()


def test_a_second_ctrl_c_stops_at_once_and_says_so(place: Path) -> None:
    code = """
import signal, sys, time
from upscaler.cli.process import stoppable
from upscaler.folders import whole_or_absent
from pathlib import Path
with stoppable():
    with whole_or_absent(Path("half.png")) as stream:
        try:
            print("ready", flush=True); time.sleep(60)
        except KeyboardInterrupt:
            print("again", flush=True); time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        for word in ("ready", "again"):
            assert process.stdout.readline().strip() == word
            process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=20)
    assert process.returncode == 130
    assert message.strip() == "upscaler: stopped at once; what was finished since is not kept"
    assert sorted(os.listdir(place)) == ["a.png", "b.png"]


def test_who_is_told_to_ignore_a_signal_ignores_it(place: Path) -> None:
    done = shell(f"nohup upscaler run a.png -o out.png -q {FAST} & sleep 0.4; kill -HUP $!; wait $!", place)
    assert done.returncode == 0, done.stderr
    assert (place / "out.png").is_file()


def test_warnings_of_libraries_stay_out_of_the_terminal(place: Path) -> None:
    """A TIFF with a tag that is cut off makes Pillow warn and tifffile log."""
    upscaler.save(upscaler.Picture(np.full((16, 20, 3), 0.5, np.float32)), place / "odd.tif", bit_depth=16)
    code = "import warnings, logging; warnings.warn('from a library'); logging.getLogger('tifffile').error('a log')"
    (place / "sitecustomize.py").write_text(
        f"import upscaler.api\nload = upscaler.api.load\ndef noisy(*a, **k):\n    {code}\n    return load(*a, **k)\n"
        "upscaler.api.load = noisy\nimport upscaler.cli.one\nupscaler.cli.one.load = noisy\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{place}:{ROOT}"}
    command = [sys.executable, "-m", "upscaler", "run", "odd.tif", "-o", "out.png", "-q", *FAST.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("option", ["--width", "--seed", "--size", "--strength", "--max-pixels", "--tile"])
def test_a_number_of_five_thousand_digits_is_one_short_line(option: str, place: Path) -> None:
    done = shell(f"upscaler plan a.png {option} {'9' * 5000}", place)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()[-1]) < 250


def test_ctrl_c_while_the_package_is_imported_is_no_traceback(place: Path) -> None:
    code = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "upscaler.api":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["upscaler", "models", "list"]
from upscaler_command import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "upscaler: stopped\n")
