"""Two nodes for `benchmarks.comfyui`, run by ComfyUI: what the models do between them, and the process's largest memory."""

from __future__ import annotations

import copy
import gc
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEEN: dict[str, float] = {}


def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **options)
        SEEN[what] += time.perf_counter() - start
        return result

    return wrapped


class Start:
    """The models, watched from now on; not the same twice, so that nothing is answered from the cache."""

    RETURN_TYPES = ("MODEL", "VAE")
    FUNCTION = "run"
    CATEGORY = "benchmark"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"model": ("MODEL",), "vae": ("VAE",)}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802
        return float("nan")

    def run(self, model: Any, vae: Any) -> tuple[Any, Any]:
        gc.collect()
        SEEN.update(network=0.0, autoencoder=0.0, tiles=0, pixels=0, cpu=time.process_time())
        watched, autoencoder = model.clone(), copy.copy(vae)

        def network(apply: Callable[..., Any], given: dict[str, Any]) -> Any:
            tiles, _, height, width = given["input"].shape
            SEEN["tiles"] += tiles
            SEEN["pixels"] += tiles * height * width * 64
            return timed("network", apply)(given["input"], given["timestep"], **given["c"])

        watched.set_model_unet_function_wrapper(network)
        autoencoder.encode = timed("autoencoder", vae.encode)
        autoencoder.decode = timed("autoencoder", vae.decode)
        if (reset := Path("/proc/self/clear_refs")).exists():  # Linux
            reset.write_text("5")  # the largest memory is counted anew
        return watched, autoencoder


class Stop:
    """What was seen since the start, as JSON."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "run"
    CATEGORY = "benchmark"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        cpu = time.process_time() - SEEN["cpu"]
        peak = float("nan")
        if (status := Path("/proc/self/status")).exists():
            peak = int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) / 1024
        size = [images.shape[2], images.shape[1]]
        return {"ui": {"text": [json.dumps({**SEEN, "cpu": cpu, "size": size, "peak": peak})]}}


NODE_CLASS_MAPPINGS = {"BenchmarkStart": Start, "BenchmarkStop": Stop}
