"""Pictures to a device and back: the same bytes, and on a GPU nothing that waits before it has to."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from upscaler.geometry import Box  # noqa: E402
from upscaler.models import load_refiner, transfer  # noqa: E402
from upscaler.models.transfer import download, upload  # noqa: E402
from upscaler.options.settings import Sampling  # noqa: E402
from upscaler.tiling.worker import Inline, Task  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


def test_there_and_back_it_is_the_same() -> None:
    picture = np.random.default_rng(0).random((7, 5, 3), np.float32)
    tensor = upload(picture, CPU)
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.float32, picture.shape)
    assert download(tensor)().tobytes() == picture.tobytes()
    turned = download(tensor.permute(2, 0, 1))()
    assert turned.flags.c_contiguous
    assert turned.tobytes() == picture.transpose(2, 0, 1).tobytes()


class FakeTensor:
    """Notes what is done with it."""

    def __init__(self, log: list[str], where: Any, name: str) -> None:
        self.log, self.device, self.name = log, where, name
        self.shape, self.dtype = (2, 3), torch.float32

    def pin_memory(self) -> FakeTensor:
        self.log.append(f"pin {self.name}")
        return FakeTensor(self.log, self.device, f"pinned {self.name}")

    def to(self, where: Any, *, non_blocking: bool = False) -> FakeTensor:
        self.log.append(f"{self.name} to {where}{'' if non_blocking else ', waiting'}")
        return FakeTensor(self.log, where, self.name)

    def copy_(self, other: FakeTensor, *, non_blocking: bool = False) -> None:
        self.log.append(f"{other.name} to {self.name}{'' if non_blocking else ', waiting'}")

    def numpy(self) -> str:
        return self.name


class FakeEvent:
    """An event of a device's stream."""

    log: list[str]

    def __init__(self, *, blocking: bool = False) -> None:
        assert blocking, "waiting would keep a core busy"

    def record(self, stream: str) -> None:
        self.log.append(f"event after {stream}")

    def synchronize(self) -> None:
        self.log.append("wait for the event")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a GPU, instead of one."""
    asked: list[str] = []

    class Event(FakeEvent):
        log = asked

    class Torch:
        from_numpy = staticmethod(lambda array: FakeTensor(asked, CPU, array))
        cuda = type(
            "cuda", (), {"Event": Event, "current_stream": staticmethod(lambda where: f"the stream of {where}")}
        )

        @staticmethod
        def empty(shape: Any, *, dtype: Any, pin_memory: bool) -> FakeTensor:
            return FakeTensor(asked, CPU, "pinned memory" if pin_memory else "memory")

    monkeypatch.setattr(transfer, "torch", Torch)
    return asked


def test_a_gpu_reads_pinned_memory_while_the_processor_goes_on(log: list[str]) -> None:
    there: Any = upload("tile", GPU)  # type: ignore[arg-type]
    assert there.device == GPU
    assert log == ["pin tile", "pinned tile to cuda:1"]


def test_what_a_gpu_sends_is_waited_for_where_it_is_needed(log: list[str]) -> None:
    wait = download(FakeTensor(log, GPU, "tile"))  # type: ignore[arg-type]
    assert log == ["tile to pinned memory", "event after the stream of cuda:1"]
    assert wait() == "pinned memory"
    assert log[2:] == ["wait for the event"]


def test_tiles_are_free_as_soon_as_nobody_holds_them() -> None:
    refiner: Any = load_refiner("pocket", device="cpu", precision="float32")
    tile = np.random.default_rng(0).random((64, 64, 3), np.float32)

    def begin(on_step: Any) -> Any:
        return refiner.begin([tile], boxes=[Box(0, 0, 64, 64)], sampling=Sampling(steps=1), seed=0, on_step=on_step)

    gc.disable()
    try:
        task = Task(Inline(), begin)
        (pending,) = task.result()
        drawn = weakref.ref(pending())
        assert drawn() is not None
        del task, pending
        assert drawn() is None, "the collector would have to find it"
    finally:
        gc.enable()
