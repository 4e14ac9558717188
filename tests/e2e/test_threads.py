"""Models in several threads: every run gives what it gives alone."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import upscaler
from upscaler.geometry import Box
from upscaler.models import load_refiner, load_upscaler
from upscaler.models.device import one_thread
from upscaler.models.sharing import GATE
from upscaler.options.settings import Sampling

PICTURE = np.random.default_rng(0).random((40, 40, 3), np.float32)


def run(options: dict[str, Any]) -> str:
    return hashlib.sha256(upscaler.upscale(PICTURE, scale=1.5, **options).pixels.tobytes()).hexdigest()


MODELS: list[dict[str, Any]] = [
    {"gan": "none", "model": "pocket", "steps": 3, "strength": 0.9, "precision": "bfloat16"},
    {"gan": "realesr-animevideov3", "model": "pocket", "steps": 2, "precision": "float32"},
    {"gan": "realesr-animevideov3", "model": "none", "precision": "float32"},
    {"gan": "none", "model": "pocket", "steps": 2, "strength": 0.71, "precision": "float32"},
]


def test_forty_runs_in_four_threads_are_those_of_one() -> None:
    serial = [run(options) for options in MODELS]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, MODELS * 10)) == serial * 10
    assert [run(options) for options in MODELS] == serial
    assert torch.get_default_dtype() is torch.float32


class Paused:
    """A load that has changed what is the whole process's, and waits there until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def of(self, load: Callable[..., Any]) -> Callable[..., Any]:
        def paused(*args: Any, **options: Any) -> Any:
            torch.set_default_dtype(torch.bfloat16)
            try:
                self.reached.set()
                self.go_on.wait(20)
                return load(*args, **options)
            finally:
                torch.set_default_dtype(torch.float32)

        return paused


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_nothing_is_computed_while_a_model_loads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from upscaler.models.diffusion.pocket import PocketUNet

    refiner = load_refiner("pocket", device="cpu", precision="float32")
    enlarger = load_upscaler("realesr-animevideov3", device="cpu", precision="float32")

    def compute() -> bytes:
        if kind == "gan":
            return enlarger(PICTURE).tobytes()
        sampling, boxes = Sampling(strength=0.771, steps=3), [Box(0, 0, 40, 40)]
        return refiner([PICTURE], boxes=boxes, sampling=sampling, seed=0, on_step=lambda k, n: None)[0].tobytes()

    alone, paused = compute(), Paused()
    monkeypatch.setattr(PocketUNet, "from_pretrained", paused.of(PocketUNet.from_pretrained))
    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(load_refiner, "pocket", device="cpu", precision="bfloat16")
        assert paused.reached.wait(20)
        computing = pool.submit(compute)
        threading.Timer(0.5, paused.go_on.set).start()
        assert computing.result(60) == alone
        loading.result(60)


def test_the_number_of_threads_outlives_those_who_change_it() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    inside = threading.Barrier(2, timeout=0.5)

    def work(_: int) -> None:
        with one_thread(), suppress(threading.BrokenBarrierError):  # the other one is not let in, as it should be
            inside.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
        assert set(pool.map(lambda _: torch.get_num_threads(), range(4))) == {2}
    torch.set_num_threads(before)


def test_a_model_in_use_is_loaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from upscaler.models.diffusion.pocket import PocketUNet

    count, load = [], PocketUNet.from_pretrained
    monkeypatch.setattr(PocketUNet, "from_pretrained", lambda *a, **k: count.append(1) or load(*a, **k))
    with ThreadPoolExecutor(4) as pool:
        options: dict[str, Any] = {"device": "cpu", "precision": "float32"}
        refiners = list(pool.map(lambda _: load_refiner("pocket", **options), range(4)))
    assert len(count) == 1
    assert len(set(map(id, refiners))) == 1
    assert load_refiner("pocket", device="cpu", precision="bfloat16") is not refiners[0]
    refiners.clear()
    load_refiner("pocket", **options)
    assert len(count) == 3  # nobody held it, so its memory was free again


def test_a_model_whose_file_has_changed_is_loaded_anew(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bundled = next(model for model in upscaler.weights.models("gan") if model.name == "realesr-animevideov3")
    state, path = load_file(bundled.path), tmp_path / "mine.safetensors"
    save_file(state, path)
    first = load_upscaler(str(path), device="cpu", precision="float32")
    assert load_upscaler(str(path), device="cpu", precision="float32") is first
    save_file({name: weight * 0.5 for name, weight in state.items()}, path)
    second = load_upscaler(str(path), device="cpu", precision="float32")
    assert not np.array_equal(first(PICTURE), second(PICTURE))


def test_who_waits_to_load_goes_before_those_who_run() -> None:
    order: list[str] = []

    def load() -> None:
        with GATE.loading(), GATE.loading(), GATE.running():  # a load may try its model
            order.append("load")

    def run() -> None:
        with GATE.running():
            order.append("run")

    with ThreadPoolExecutor(2) as pool:
        with GATE.running():
            loading = pool.submit(load)
            while not GATE._waiting:  # pyright: ignore[reportPrivateUsage]
                time.sleep(0.01)
            later = pool.submit(run)
            time.sleep(0.1)
            assert order == []
        loading.result(5)
        later.result(5)
    assert order == ["load", "run"]
