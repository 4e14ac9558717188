"""How many tiles a batch has: from what a network was seen to take, on a card that is made up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from upscaler import folders  # noqa: E402
from upscaler.geometry import Size  # noqa: E402
from upscaler.models import load_refiner  # noqa: E402
from upscaler.models.diffusion import placed  # noqa: E402
from upscaler.models.diffusion.dry_run import Cost, measure  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_control, make_sd, make_sd3  # noqa: E402

CPU = torch.device("cpu")
TILE = Size(64, 64)


class Card:
    """A device whose memory a network takes as no formula would know: a workspace, and so much for each tile."""

    def __init__(self, each: int, *, workspace: int = 0, coding: int = 0, size: int = 10_000) -> None:
        self.each, self.workspace, self.coding, self.size = each, workspace, coding, size
        self.network: Any = None
        self.runs: list[int] = []  # tiles of each evaluation
        self.taken = 0

    def watch(self, refiner: Any) -> None:
        refiner._parts.unet.register_forward_pre_hook(self._evaluated, with_kwargs=True)
        decode = refiner._parts.codec.decode

        def decoded(latents: Any) -> Any:
            self._take(self.coding)
            return decode(latents)

        refiner._parts.codec.decode = decoded

    def _evaluated(self, module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        sample = named["hidden_states"] if "hidden_states" in named else args[0]
        self.runs.append(len(sample))
        self._take(self.workspace + self.each * len(sample))

    def _take(self, amount: int) -> None:
        if amount > self.size:
            raise RuntimeError("CUDA out of memory. Tried to allocate everything.")
        self.taken = max(self.taken, amount)

    def meter(self, call: Callable[[], object]) -> int:
        self.taken = 0
        call()
        return self.taken


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "state_folder", lambda: tmp_path / "state")
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture(params=["pocket", "sd1+control", "sd3"])
def load(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Card], Any]:
    """Loads a model onto a card; on the processor, which is as good a place as any."""
    name, options = "pocket", {}
    if request.param == "sd3":
        name = str(make_sd3(folder / "sd3"))
    elif request.param != "pocket":
        name = str(make_sd(folder / "sd"))
        options = {"control": str(make_control(folder / "tile", folder / "sd"))}

    def loaded(card: Card) -> Any:
        monkeypatch.setattr(placed, "meter_of", lambda device: card.meter)
        monkeypatch.setattr(placed, "free_memory", lambda device, limit=None: card.size)
        monkeypatch.setattr(placed, "_LARGEST_ON_A_CPU", 16)
        refiner: Any = load_refiner(name, device="cpu", precision="float32", memory=id(card), **options)
        card.watch(refiner)
        return refiner

    return loaded


@pytest.mark.parametrize(("each", "tiles"), [(1000, 8), (450, 16), (4000, 2)])
def test_a_batch_is_what_fits_by_what_was_seen(load: Callable[[Card], Any], each: int, tiles: int) -> None:
    """Nine thousand of ten may be taken, and a workspace of 500 does not grow with the batch."""
    card = Card(each, workspace=500)
    refiner = load(card)
    views = 2 if refiner.habits.guidance > 1 else 1
    card.each = each // views
    assert refiner.batch_size(TILE) == tiles
    assert card.runs == [views, views, views, 2 * views, views]
    card.runs.clear()
    assert refiner.batch_size(TILE) == tiles
    assert not card.runs, "it is known by now"


@pytest.mark.parametrize(("coding", "tiles"), [(8000, 16), (9500, 0)])  # 9500 are more than nine tenths
def test_an_autoencoder_that_takes_more_counts_once(load: Callable[[Card], Any], coding: int, tiles: int) -> None:
    assert load(Card(100, coding=coding)).batch_size(TILE) == tiles


def test_it_is_remembered_for_the_next_run_and_for_that_size_alone(load: Callable[[Card], Any], folder: Path) -> None:
    first, second = Card(1000), Card(1000)
    assert load(first).batch_size(TILE) > 1
    later = load(second)
    later.batch_size(TILE)
    assert not second.runs
    later.batch_size(Size(128, 64))
    assert second.runs
    (folder / "state" / "batches.json").write_text('{"a": 3}')
    third = Card(1000)
    load(third).batch_size(TILE)
    assert third.runs


def test_where_memory_runs_out_meanwhile_it_is_estimated_and_not_remembered(
    load: Callable[[Card], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refiner = load(Card(9000))  # two do not fit
    monkeypatch.setattr(refiner, "_estimate", lambda tile: Cost(0, 3000))
    assert refiner.batch_size(TILE) == 3
    assert not (folder / "state" / "batches.json").exists()


def test_what_goes_wrong_otherwise_is_raised() -> None:
    def fail(tiles: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        measure(fail, lambda: None, lambda call: 0)


@pytest.mark.parametrize("text", [None, "", "a b c", "1 2", "1 2 3 4", "1.5 2 3"])
def test_what_is_no_cost_is_none(text: str | None) -> None:
    assert Cost.read(text) is None


def test_a_cost_is_read_as_it_was_written() -> None:
    assert Cost.read(str(Cost(3, 2, -1))) == Cost(3, 2, -1)
