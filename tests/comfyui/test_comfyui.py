"""The nodes in the real ComfyUI, driven as its own page does."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from host import Host, Run, Workflow

ROOT = Path(__file__).parents[2]
NODES = ["TDU_Refine", "TDU_SeamFix", "TDU_SeamScore", "TDU_TilePlan", "TDU_Upscale", "TDU_WaveletFilter"]
PACK = "tiled-diffusion-upscaler"


def workflow(node: str, picture: str = "photo128.png", **inputs: Any) -> Workflow:
    """A checkpoint, two prompts, a picture, the node, and what saves its result."""
    models = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "vae": ["1", 2]}
    sampling = {"seed": 7, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 0.25}
    tiles = {"tile_width": 128, "tile_height": 128, "tile_padding": 16, "mask_blur": 4}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "random.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a hill in autumn"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "blurry"}},
        "4": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "6": {"class_type": node, "inputs": {**models, **sampling, **tiles, **inputs}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "result"}},
    }


def upscale(picture: str = "photo128.png", **inputs: Any) -> Workflow:
    return workflow(
        "TDU_Upscale",
        picture,
        **{"image": ["4", 0], "gan": "realesr-animevideov3", "upscale_by": 2.0, "seam_steps": 1, **inputs},
    )


def refine(picture: str = "photo128.png", **inputs: Any) -> Workflow:
    return workflow("TDU_Refine", picture, **{"upscaled_image": ["4", 0], "seam_fix_mode": "None", **inputs})


def succeeded(run: Run) -> Run:
    assert run.ended == "execution_success", run.of("execution_error")
    return run


def test_the_stand_in_has_the_hosts_signatures(program: Path) -> None:
    """The arguments of every function that the ordinary tests stand in for, in the host's order."""
    sys.path.insert(0, str(ROOT / "tests" / "hosts"))
    import comfyui

    for file, stand_ins in comfyui.HOST_FILES.items():
        theirs: dict[str, list[str]] = {}
        for node in ast.parse((program / file).read_text("utf-8")).body:
            for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(inner, ast.FunctionDef):
                    name = inner.name if inner is node else f"{node.name}.{inner.name}"  # type: ignore[union-attr]
                    theirs[name] = [argument.arg for argument in inner.args.args if argument.arg != "self"]
        for name, stand_in in stand_ins.items():
            ours = [argument for argument in inspect.signature(stand_in).parameters if argument != "self"]
            assert ours == theirs[name][: len(ours)], f"{file}: {name}"


def test_the_nodes_are_there(host: Host) -> None:
    assert "IMPORT FAILED" not in host.log
    assert PACK in host.log
    known = host.get("/object_info")
    assert sorted(name for name in known if name.startswith("TDU_")) == NODES
    for name in NODES:
        assert host.get(f"/object_info/{name}")[name]["python_module"] == f"custom_nodes.{PACK}"


def test_help_pages_and_examples_are_served(host: Host) -> None:
    for name in NODES:
        assert host.fetch(f"/extensions/{PACK}/docs/{name}.md").startswith(b"# ")
    examples = host.get("/workflow_templates")[PACK]
    assert examples
    for name in examples:
        graph = json.loads(host.fetch(f"/api/workflow_templates/{PACK}/{name}.json"))
        known = host.get("/object_info")
        assert all(node["type"] in known or node["type"] in ("Note", "MarkdownNote") for node in graph["nodes"])
        assert host.fetch(f"/api/workflow_templates/{PACK}/{name}.jpg").startswith(b"\xff\xd8")


def test_a_whole_run_is_shown(host: Host) -> None:
    """512 -> 2048, with progress on one scale and the canvas as preview."""
    tiles = {"tile_width": 512, "tile_height": 512, "tile_padding": 32, "mask_blur": 8}
    graph = upscale("photo512.png", upscale_by=4.0, seam_fix_mode="None", **tiles)
    first = succeeded(host.run(graph))
    assert first.pictures[0].shape == (2048, 2048, 3)
    values = [data["value"] for data in first.of("progress") if data["node"] == "6"]
    assert values == sorted(values)
    assert values[-1] == first.of("progress")[-1]["max"]
    assert len(values) > 25
    assert len(first.previews) > 3
    with PIL.Image.open(ROOT / "examples" / "photo.png") as photo:
        small = np.asarray(photo.convert("RGB").resize((64, 64), PIL.Image.Resampling.BOX), np.float32) / 255
    result = first.pictures[0].reshape(64, 32, 64, 32, 3).mean(axis=(1, 3))
    assert np.abs(result - small).mean() < 2 / 255


def test_the_same_bytes_twice(host: Host) -> None:
    graph = upscale(sampler_name="euler_ancestral", steps=2)
    first = succeeded(host.run(graph))
    host.forget()
    again = succeeded(host.run(graph))
    assert again.of("progress"), "it was answered from the cache"
    assert np.array_equal(first.pictures[0], again.pictures[0])


def test_a_workflow_of_ultimate_sd_upscale_runs_with_only_the_node_changed(host: Host) -> None:
    graph = workflow("TDU_Upscale")
    graph["5"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "compact.pth"}}
    graph["6"]["inputs"] = {
        "image": ["4", 0], "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "vae": ["1", 2],
        "upscale_model": ["5", 0], "upscale_by": 2.0, "seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler",
        "scheduler": "normal", "denoise": 0.3, "mode_type": "Linear", "tile_width": 128, "tile_height": 128,
        "mask_blur": 8, "tile_padding": 32, "seam_fix_mode": "Half Tile + Intersections", "seam_fix_denoise": 1.0,
        "seam_fix_width": 64, "seam_fix_mask_blur": 8, "seam_fix_padding": 16, "force_uniform_tiles": True,
        "tiled_decode": False, "batch_size": 1,
    }  # fmt: skip
    assert succeeded(host.run(graph)).pictures[0].shape == (256, 256, 3)
    graph["6"]["class_type"] = "TDU_Refine"  # its node without upscaling
    for name in ("image", "upscale_model", "upscale_by"):
        del graph["6"]["inputs"][name]
    graph["6"]["inputs"] |= {"upscaled_image": ["4", 0], "mode_type": "Chess", "seam_fix_mode": "Band Pass"}
    assert succeeded(host.run(graph)).pictures[0].shape == (128, 128, 3)


def test_interrupting_is_answered_at_once(host: Host, record_testsuite_property: Callable[[str, object], None]) -> None:
    """Within two seconds in the middle of tiles, and the host goes on."""
    asked: list[float] = []

    def stop(message: dict[str, Any]) -> None:
        if message["type"] == "progress" and message["data"]["value"] > 150 and not asked:
            host.fetch("/interrupt", {})
            asked.append(time.monotonic())

    run = host.run(upscale(steps=20, seed=11, seam_fix_mode="None"), on_message=stop)
    assert run.ended == "execution_interrupted"
    seconds = run.messages[-1][0] - asked[0]
    record_testsuite_property("seconds to the interruption", round(seconds, 2))
    assert seconds < 2
    assert succeeded(host.run(upscale("odd.png"))).pictures


def test_odd_sizes_and_alpha(host: Host) -> None:
    assert succeeded(host.run(upscale("odd.png", upscale_by=3.3))).pictures[0].shape == (188, 234, 3)
    graph = upscale("alpha.png")
    graph["8"] = {"class_type": "InvertMask", "inputs": {"mask": ["4", 1]}}
    graph["9"] = {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["4", 0], "alpha": ["4", 1]}}
    graph["6"]["inputs"]["image"] = ["9", 0]
    assert succeeded(host.run(graph)).pictures[0].shape == (96, 128, 4)


def test_only_the_masked_part_is_redrawn(host: Host) -> None:
    graph = refine(steps=2, denoise=0.5, consistency=0.0)
    graph["8"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 128}}
    graph["9"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 128, "height": 128}}
    composite = {"destination": ["9", 0], "source": ["8", 0], "x": 0, "y": 0, "operation": "add"}
    graph["10"] = {"class_type": "MaskComposite", "inputs": composite}
    graph["6"]["inputs"]["mask"] = ["10", 0]
    (result,) = succeeded(host.run(graph)).pictures
    with PIL.Image.open(host.base / "input" / "photo128.png") as photo:
        before = np.asarray(photo, np.float32) / 255
    assert np.array_equal(result[:, 68:], before[:, 68:])
    assert np.abs(result[:, :60] - before[:, :60]).mean() > 1 / 255


def test_the_result_does_not_depend_on_the_batch(host: Host) -> None:
    """Also with samplers that draw noise at each step, and with prompts for parts of the picture."""
    graph = refine(tile_width=64, tile_height=64, steps=3, denoise=0.5, sampler_name="dpmpp_sde", cfg=3.0)
    graph["8"] = {
        "class_type": "ConditioningSetArea",
        "inputs": {"conditioning": ["2", 0], "width": 64, "height": 64, "x": 16, "y": 40, "strength": 1.0},
    }
    graph["9"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["3", 0], "conditioning_2": ["8", 0]},
    }
    graph["6"]["inputs"]["positive"] = ["9", 0]
    results: list[Any] = []
    for batch in (1, 4):
        graph["6"]["inputs"]["batch_size"] = batch
        results.append(succeeded(host.run(graph)).pictures[0])
    assert np.abs(results[0] - results[1]).max() <= 1 / 255


def test_samplers_and_sigmas_of_the_host_can_stand_in(host: Host) -> None:
    plain = succeeded(host.run(refine(steps=4, denoise=1.0))).pictures[0]
    graph = refine(steps=1, denoise=0.1)
    graph["8"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    graph["9"] = {
        "class_type": "BasicScheduler",
        "inputs": {"model": ["1", 0], "scheduler": "simple", "steps": 4, "denoise": 1.0},
    }
    graph["6"]["inputs"] |= {"custom_sampler": ["8", 0], "custom_sigmas": ["9", 0]}
    assert np.array_equal(succeeded(host.run(graph)).pictures[0], plain)


def test_a_batch_of_pictures_and_the_smaller_nodes(host: Host) -> None:
    """Plan, refine, mend, filter and score in one graph, on two pictures at once."""
    graph = refine(tile_width=64, tile_height=64, steps=1)
    graph["5"] = {"class_type": "ImageBatch", "inputs": {"image1": ["4", 0], "image2": ["4", 0]}}
    graph["6"]["inputs"]["upscaled_image"] = ["5", 0]
    grid = {"tile_width": 64, "tile_height": 64, "tile_padding": 16, "mask_blur": 4}
    mend = {
        **graph["6"]["inputs"],
        "image": ["6", 0],
        "reference": ["5", 0],
        "seam_fix_mode": "Band Pass",
        "denoise": 0.2,
    }
    graph["8"] = {"class_type": "TDU_SeamFix", "inputs": mend}
    tone = {"image": ["8", 0], "reference": ["5", 0], "wavelet_color": 1.0, "wavelet_denoise": 0.5}
    graph["9"] = {"class_type": "TDU_WaveletFilter", "inputs": tone}
    graph["7"]["inputs"]["images"] = ["9", 0]
    graph["10"] = {"class_type": "TDU_SeamScore", "inputs": {"image": ["6", 0], "reference": ["5", 0], **grid}}
    graph["11"] = {"class_type": "TDU_TilePlan", "inputs": {"image": ["4", 0], "upscale_by": 4.0, **grid}}
    run = succeeded(host.run(graph))
    assert [picture.shape for picture in run.pictures] == [(128, 128, 3)] * 2
    assert np.array_equal(*run.pictures)
    assert "joints stand out" in run.outputs["10"]["text"][0]
    assert run.outputs["11"]["images"]


def test_the_command_line_gives_the_same_picture(
    host: Host, models: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The same weights, settings and noise: within 2/255 in the mean. "simple" is where our own timesteps lie."""
    (ours,) = succeeded(
        host.run(upscale(upscale_by=2.0, steps=2, sampler_name="ddim", cfg=3.0, seed=5, seam_steps=2))
    ).pictures
    result = tmp_path / "result.png"
    command = [sys.executable, "-m", "upscaler", "run", str(host.base / "input" / "photo128.png"), "-o", str(result)]
    command += ["-s", "2", "-n", "realesr-animevideov3", "-m", str(models / "diffusers"), "--precision", "float32"]
    command += ["-p", "a hill in autumn", "--negative", "blurry", "--guidance", "3", "--steps", "2", "--seed", "5"]
    # a tile of the host is the tile and its padding
    command += ["--strength", "0.25", "--scheduler", "ddim", "--tile", "144", "--overlap", "16", "--feather", "16"]
    command += ["--device", "cpu", "--seam-steps", "2"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    with PIL.Image.open(result) as file:
        theirs = np.asarray(file, np.float32) / 255
    difference = np.abs(ours - theirs) * 255
    record_testsuite_property("mean and largest difference in 1/255", f"{difference.mean():.3f} {difference.max():.0f}")
    assert difference.mean() < 2


def test_a_clone_works_too(clone: Host) -> None:
    assert "IMPORT FAILED" not in clone.log
    assert sorted(name for name in clone.get("/object_info") if name.startswith("TDU_")) == NODES
    assert clone.get("/workflow_templates")["upscaler"]
    assert succeeded(clone.run(upscale("odd.png"))).pictures[0].shape == (114, 142, 3)


def test_what_is_wrong_is_said_in_one_line(host: Host) -> None:
    run = host.run(upscale(gan="missing"))
    assert run.ended == "execution_error"
    (error,) = run.of("execution_error")
    assert "realesrgan-x4plus" in error["exception_message"]
    assert error["node_type"] == "TDU_Upscale"
