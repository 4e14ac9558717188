"""Model folders and files that are damaged in two hundred ways: one line each, and no picture from a broken model."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from upscaler import weights
from upscaler.errors import UnsupportedModel, UpscalerError
from upscaler.geometry import Box
from upscaler.models import describe_refiner, describe_upscaler, load_refiner, load_upscaler
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_sd

TILE = np.random.default_rng(3).random((64, 64, 3), np.float32)
SECONDS = 20  # that one case may take: a pipe would be waited for, and huge sizes would be allocated

VALUES: list[Any] = [
    None, True, -1, 0, 1, 5, 3.7, 10**30, 1e308, float("nan"), "", "x", "v" * 10_000, "../../etc", [], [[]], {}, {"a": {}},
    [0, 0], ["", None], 2**31, -(2**63),
]  # fmt: skip


class TookTooLong(BaseException):
    """No error that anybody takes for one of the model."""


@contextmanager
def in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places_in(inner, (*place, key))


def change_json(file: Path, rng: random.Random) -> str:
    content = json.loads(file.read_text())
    place = rng.choice(list(places_in(content)))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    if rng.random() < 0.15:
        del holder[place[-1]]
        file.write_text(json.dumps(content))
        return f"{file.name}: {place} removed"
    holder[place[-1]] = value = copy.deepcopy(rng.choice(VALUES))
    file.write_text(json.dumps(content))
    return f"{file.name}: {place} = {value!r:.40}"


def replace_file(file: Path, rng: random.Random) -> str:
    how = rng.choice(["gone", "empty", "deep", "list", "number", "bytes", "utf16", "pipe", "folder", "circle", "cut"])
    content = file.read_bytes()
    file.unlink()
    texts = {"empty": b"", "deep": b"[" * 100_000, "list": b"[]", "number": b"5", "bytes": bytes(range(256)) * 9,
             "utf16": '{"a": 1}'.encode("utf-16"), "cut": content[: len(content) // 2]}  # fmt: skip
    if how in texts:
        file.write_bytes(texts[how])
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
    elif how == "circle":
        file.symlink_to(file)
    return f"{file.parent.name}/{file.name}: {how}"


def change_weights(file: Path, rng: random.Random) -> str:
    how = rng.choice(["header", "cut", "nan", "inf", "dropped", "shape", "extra", "integers"])
    if how in ("header", "cut"):
        content = bytearray(file.read_bytes())
        if how == "header":
            for _ in range(3):
                content[rng.randrange(min(4000, len(content)))] = rng.randrange(256)
        file.write_bytes(content[: rng.randrange(len(content))] if how == "cut" else content)
        return f"{file.name}: {how}"
    state = load_file(file)
    name = rng.choice(sorted(state))
    if how in ("nan", "inf"):
        chosen = state if rng.random() < 0.5 else [name]
        for key in chosen:
            state[key] = torch.full_like(state[key], float(how))
    elif how == "dropped":
        del state[name]
    elif how == "shape":
        state[name] = torch.zeros(3, 5)
    elif how == "extra":
        state["../evil"] = torch.zeros(1)
    else:
        state[name] = state[name].to(torch.int8)
    save_file(state, file)
    return f"{file.name}: {name} {how}"


def change_folder(folder: Path, rng: random.Random) -> str:
    configs = sorted(file for file in folder.rglob("*.json") if "tokenizer" not in str(file.parent))
    everything = sorted(file for file in folder.rglob("*") if file.is_file())
    tensors = sorted(folder.rglob("*.safetensors"))
    kind = rng.random()
    if kind < 0.6:
        return change_json(rng.choice(configs), rng)
    return replace_file(rng.choice(everything), rng) if kind < 0.8 else change_weights(rng.choice(tensors), rng)


def pickled(file: Path, rng: random.Random) -> str:
    key: Any = rng.choice([0, None, ("a",), b"bytes", 1.5, "conv_first.weight", "params_ema"])
    value: Any = rng.choice([torch.zeros(3, 3, 3, 3), None, 5, [torch.zeros(2)], {0: torch.zeros(1)}, {}, "text"])
    content = rng.choice(
        [{key: value}, {key: value, "other": torch.zeros(1)}, [value], value, {"params": {key: value}}]
    )
    torch.save(content, file)
    if rng.random() < 0.2:
        file.write_bytes(file.read_bytes()[: rng.randrange(400)])
    return f"pickle of {content!r:.60}"


def refine(folder: Path) -> np.ndarray:
    describe_refiner(str(folder))
    refiner = load_refiner(str(folder), device="cpu", precision="float32")
    sampling = Sampling(steps=1, guidance=1.0)
    (result,) = refiner([TILE], boxes=[Box(0, 0, 64, 64)], sampling=sampling, seed=0, on_step=lambda k, n: None)
    return result


def enlarge(file: Path) -> np.ndarray:
    describe_upscaler(str(file))
    return load_upscaler(str(file), device="cpu", precision="float32")(TILE[:16, :16].copy())


Case = tuple[Callable[[Path], np.ndarray], Callable[[Path, random.Random], str], Callable[[Path], None]]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """How each kind of model is run, damaged, and made anew."""
    sd = make_sd(tmp_path_factory.mktemp("models") / "sd")
    pocket, gan = weights.find("pocket", "diffusion"), weights.find("realesr-animevideov3", "gan")

    def tree(source: Path) -> Callable[[Path], None]:
        return lambda place: shutil.copytree(source, place) and None

    return [
        (refine, change_folder, tree(sd)),
        (refine, change_folder, tree(pocket)),
        (enlarge, change_weights, lambda place: shutil.copyfile(gan, place) and None),
        (enlarge, pickled, lambda place: None),
    ]


def run_cases(cases: list[Case], place: Path, count: int, seed: int) -> list[str]:
    """What went wrong: other errors than ours, more than one line, and pictures that are none."""
    rng, wrong = random.Random(seed), []
    for number in range(count):
        run, damage, make = cases[rng.choices(range(len(cases)), weights=(10, 5, 2, 3))[0]]
        path = place / f"model{number}{'.pth' if damage is pickled else '.safetensors' if run is enlarge else ''}"
        make(path)
        what = damage(path, rng)
        try:
            with in_time():
                if not np.isfinite(run(path)).all():
                    wrong.append(f"{number}: {what}: no picture came out, and nothing was said")
        except UpscalerError as error:
            if "\n" in str(error) or len(str(error)) > 700:
                wrong.append(f"{number}: {what}: not one line: {error!r:.300}")
        except BaseException:
            wrong.append(f"{number}: {what}: {traceback.format_exc()[-700:]}")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return wrong


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and alarms of POSIX")
def test_two_hundred_damaged_models_are_one_line_each(cases: list[Case], tmp_path: Path) -> None:
    wrong = run_cases(cases, tmp_path, 200, seed=int(os.environ.get("UPSCALER_FUZZ_SEED", "11")))
    assert not wrong, "\n\n".join(wrong)


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("model_index.json", {"unet": 5}, "cannot be loaded"),
        ("vae/config.json", {"levels": 0}, "levels 0 is not one of 1, 2, 3, 4"),
        ("vae/config.json", {"levels": 30}, "levels 30 is not one of"),
        ("vae/config.json", {"levels": 2}, "autoencoder needs 96"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "timesteps"),
        ("scheduler/scheduler_config.json", {"beta_start": float("nan")}, "noise"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}, "scheduler cannot be used"),
        ("scheduler/scheduler_config.json", {"prediction_type": "guess"}, "prediction type 'guess'"),
        ("unet/config.json", {"full_strength": -3}, "full_strength"),
        ("unet/config.json", {"layers_per_block": 2**31}, "layers_per_block 2147483648 is more than 500"),
    ],
)
def test_what_is_wrong_is_named(part: str, values: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = tmp_path / "mine"
    shutil.copytree(weights.find("pocket", "diffusion"), model)
    edit(model / part, **values)
    with pytest.raises(UpscalerError, match=words) as caught:
        load_refiner(str(model), device="cpu", precision="float32")
    assert "mine" in str(caught.value)


def test_a_network_of_no_numbers_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "mine"
    shutil.copytree(weights.find("pocket", "diffusion"), model)
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: torch.full_like(weight, torch.nan) for name, weight in load_file(file).items()}, file)
    with pytest.raises(UnsupportedModel, match="of its UNet are not finite"):
        load_refiner(str(model), device="cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    model = tmp_path / "mine"
    shutil.copytree(weights.find("pocket", "diffusion"), model)
    for file in ("scheduler/scheduler_config.json", "model_index.json"):
        (model / file).unlink()
        os.mkfifo(model / file)
    os.mkfifo(tmp_path / "pipe.pth")
    with in_time():
        for call in (
            lambda: load_refiner(str(model)),
            lambda: describe_refiner(str(model)),
            lambda: load_upscaler(str(tmp_path / "pipe.pth")),
        ):
            with pytest.raises(UnsupportedModel, match="is a pipe"):
                call()
