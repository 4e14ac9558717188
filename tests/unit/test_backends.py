"""The choice among ways to run a network: which is taken, and how it is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from upscaler import folders  # noqa: E402
from upscaler.errors import SettingsError  # noqa: E402
from upscaler.models import backends, notes  # noqa: E402
from upscaler.models.backends import EXACT, Way, fastest, in_turns, pick_dtype, recall, remember, ways  # noqa: E402

CPU = torch.device("cpu")
FLOAT, LAST, BRAIN = EXACT, Way("torch", "float32", "channels-last"), Way("torch", "bfloat16", "channels-last")
AMONG = [LAST, BRAIN]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "state_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """A clock that stands still but for the seconds that a run tells it."""
    now = [0.0]

    def work(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(backends, "_now", lambda device: now[0])
    return work  # type: ignore[return-value]


def steady(clock: Callable[[float], None], step: float, steps: int, seen: list[int]) -> Callable[..., None]:
    """A run of equal steps."""

    def run(on_step: Callable[[int, int], None]) -> None:
        seen.append(0)
        for index in range(1, steps + 1):
            clock(step)
            seen[-1] = index
            on_step(index, steps)

    return run


def test_the_fastest_is_taken_and_of_equals_the_one_nearer_to_float32() -> None:
    assert fastest({FLOAT: 2.0, LAST: 1.5, BRAIN: 0.9}) == BRAIN
    assert fastest({FLOAT: 1.0, LAST: 0.99, BRAIN: 0.97}) == FLOAT
    assert fastest({FLOAT: 1.0, BRAIN: 1.6}) == FLOAT, "a number format that is slower here"


def test_runs_are_timed_for_a_share_of_their_steps(clock: Callable[[float], None]) -> None:
    seen: list[int] = []
    times = in_turns({LAST: steady(clock, 1.0, 100, seen), BRAIN: steady(clock, 0.9, 100, seen)}, CPU, share=0.2)
    assert times == {LAST: pytest.approx(100), BRAIN: pytest.approx(90)}, "of whole runs"
    assert seen == [20, 20]


def test_what_is_done_once_in_a_run_does_not_count_as_if_it_were_done_all_the_time(
    clock: Callable[[float], None],
) -> None:
    def prepared(on_step: Callable[[int, int], None]) -> None:
        clock(4.0)
        steady(clock, 0.5, 100, [])(on_step)

    times = in_turns({LAST: steady(clock, 1.0, 100, []), BRAIN: prepared}, CPU, share=0.2)
    assert times == {LAST: pytest.approx(100), BRAIN: pytest.approx(50)}


def test_one_that_is_far_behind_is_stopped(clock: Callable[[float], None]) -> None:
    seen: list[int] = []
    runs = {LAST: steady(clock, 1.0, 10, seen), BRAIN: steady(clock, 5.0, 10, seen)}
    assert in_turns(runs, CPU) == {LAST: pytest.approx(10)}
    assert seen == [10, 4], "stopped at 1.5 times the best"


def test_what_a_run_raises_is_raised(clock: Callable[[float], None]) -> None:
    def fail(on_step: object) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        in_turns({LAST: fail}, CPU)


def test_a_choice_is_remembered_by_machine_model_and_what_there_was_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(CPU, "a", AMONG, BRAIN)
    assert recall(CPU, "a", AMONG) == BRAIN
    assert recall(CPU, "b", AMONG) is None
    assert recall(CPU, "a", [*AMONG, FLOAT]) is None
    monkeypatch.setattr(backends, "machine", lambda device: "another processor x8")
    assert recall(CPU, "a", AMONG) is None


def test_another_version_chooses_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(CPU, "a", AMONG, BRAIN)
    monkeypatch.setattr(notes, "__version__", "99")
    assert recall(CPU, "a", AMONG) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"a": 3}', b"[" * 100_000])
def test_a_damaged_file_is_learned_anew(content: bytes, folder: Path) -> None:
    (folder / "backends.json").write_bytes(content)
    assert recall(CPU, "a", AMONG) is None
    remember(CPU, "a", AMONG, LAST)
    assert recall(CPU, "a", AMONG) == LAST


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    (folder / "backends.json").mkdir()
    remember(CPU, "a", AMONG, LAST)
    assert recall(CPU, "a", AMONG) is None


def test_the_file_does_not_grow_for_ever(folder: Path) -> None:
    for index in range(folders.MOST_NOTES + 5):
        (folder / "backends.json").exists() or remember(CPU, "0", AMONG, LAST)
        choices = json.loads((folder / "backends.json").read_text())
        choices[str(index)] = "torch float32"
        (folder / "backends.json").write_text(json.dumps(choices))
    remember(CPU, "a", AMONG, LAST)
    assert len(json.loads((folder / "backends.json").read_text())) == folders.MOST_NOTES
    assert recall(CPU, "a", AMONG) == LAST


@pytest.mark.parametrize(("bfloat16", "expected"), [(0.4, "bfloat16"), (1.6, "float32")])
def test_the_number_format_of_a_processor_is_the_one_that_is_fast(
    bfloat16: float, expected: str, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever units the processor says it has."""
    cost = {"float32": 1.0, "bfloat16": bfloat16}
    monkeypatch.setattr(backends, "_convolution", lambda way, device: lambda on_step: clock(cost[way.precision]))
    assert str(pick_dtype(CPU)) == f"torch.{expected}"
    monkeypatch.setattr(backends, "_convolution", None)
    assert str(pick_dtype(CPU)) == f"torch.{expected}", "remembered"


def test_a_number_format_can_be_forced() -> None:
    for name in ("float32", "bfloat16", "float16"):
        assert str(pick_dtype(CPU, name)) == f"torch.{name}"
        assert {way.precision for way in ways(CPU, precision=name)} == {name}
    assert {way.precision for way in ways(torch.device("cuda", 0), precision="float16")} == {"float16"}


def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="'int8' is not one of auto, float32"):
        pick_dtype(CPU, "int8")
    with pytest.raises(SettingsError, match="'tensorrt' is not one of auto, torch"):
        ways(CPU, backend="tensorrt")
    monkeypatch.setattr(backends, "has_openvino", lambda: False)
    with pytest.raises(SettingsError, match=r'not installed; pip install "tiled-diffusion-upscaler\[openvino\]"'):
        ways(CPU, backend="openvino")
    with pytest.raises(SettingsError, match="runs on the CPU only"):
        ways(torch.device("cuda", 0), backend="openvino")
