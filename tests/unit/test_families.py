"""What a model file is, told from its header alone."""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from tests.headers import CONV_IN, KEYS, OPEN_TEXT, TEXT, UNET, XL_TEXT, Shapes, header
from upscaler import families, ggufs, weights
from upscaler.errors import UnsupportedModel
from upscaler.headers import header_of
from upscaler.models.diffusion.habits import native_side

FLUX: Shapes = {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 64)}


@pytest.mark.parametrize(
    ("shapes", "recipe"),
    [
        ({CONV_IN: (320, 4, 3, 3), TEXT: (768,)}, "sd1"),
        ({CONV_IN: (320, 4, 3, 3), OPEN_TEXT: (1024,)}, "sd2"),
        ({CONV_IN: (320, 4, 3, 3), XL_TEXT: (1280,), f"{UNET}label_emb.0.0.weight": (1280, 2816)}, "sdxl"),
        ({CONV_IN: (384, 4, 3, 3), "conditioner.embedders.0.model.ln_final.weight": (1280,)}, "refiner"),
        ({CONV_IN: (320, 4, 3, 3), KEYS: (320, 768)}, "sd1"),
        ({CONV_IN: (320, 4, 3, 3), KEYS: (320, 1024)}, "sd2"),
        ({CONV_IN: (320, 4, 3, 3), KEYS: (640, 2048)}, "sdxl"),
    ],
)
def test_the_families_that_can_be_loaded(shapes: Shapes, recipe: str, tmp_path: Path) -> None:
    path = header(tmp_path / "model.safetensors", shapes)
    contents = families.contents_of(path)
    assert (contents.kind, contents.recipe, contents.problem) == ("diffusion", recipe, "")
    assert contents.family == families.SINGLE_FILES[recipe]
    assert header_of(path).numbers == "float16"
    assert native_side(path) == {"sd1": 512, "sd2": 512, "sdxl": 1024, "refiner": 1024}[recipe]


@pytest.mark.parametrize(
    ("shapes", "recipe"),
    [
        (FLUX, "flux"),
        ({f"{UNET}double_blocks.0.img_attn.qkv.weight": (9216, 3072), f"{UNET}img_in.weight": (3072, 64)}, "flux"),
        ({"joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}, "sd3"),
        ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536), TEXT: (768,)}, "sd3"),
    ],
)
def test_the_transformers_that_can_be_loaded(shapes: Shapes, recipe: str, tmp_path: Path) -> None:
    path = header(tmp_path / "model.safetensors", shapes)
    contents = families.contents_of(path)
    assert (contents.kind, contents.recipe, contents.problem) == ("diffusion", recipe, "")
    assert contents.family == families.TRANSFORMERS[recipe]


@pytest.mark.parametrize(
    ("shapes", "kind", "words"),
    [
        ({CONV_IN: (320, 9, 3, 3), TEXT: (768,)}, "diffusion", "an inpainting model (SD 1.x)"),
        ({CONV_IN: (320, 8, 3, 3), TEXT: (768,)}, "diffusion", "an instruct-pix2pix model"),
        ({CONV_IN: (320, 5, 3, 3), OPEN_TEXT: (1024,)}, "diffusion", "a depth-to-image model"),
        ({CONV_IN: (320, 4, 3, 3), OPEN_TEXT: (9,), f"{UNET}label_emb.0.0.weight": (1, 1)}, "diffusion", "unCLIP"),
        ({f"{UNET}input_blocks.1.1.time_stack.0.norm_in.weight": (320,)}, "diffusion", "Stable Video Diffusion"),
        ({**FLUX, "img_in.weight": (3072, 384)}, "diffusion", "Flux Fill, an inpainting model"),
        ({**FLUX, f"{UNET}distilled_guidance_layer.in_proj.weight": (9, 9)}, "diffusion", "holds Chroma"),
        ({**FLUX, "double_stream_modulation_img.lin.weight": (9, 9)}, "diffusion", "holds Flux.2"),
        ({"double_blocks.0.img_attn.qkv.lora_A.weight": (4, 9)}, "lora", "a LoRA"),
        ({"double_blocks.0.img_attn.qkv.weight": (9, 9), "controlnet_blocks.0.weight": (9, 9)}, "control", "--control"),
        ({f"{UNET}something.weight": (9, 9)}, "diffusion", "an unknown family"),
        ({"lora_unet_mid_block.lora_down.weight": (4, 320)}, "lora", "a LoRA; give it as --lora"),
        ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight": (4, 320)}, "lora", "a LoRA"),
        ({"lora_te_x.hada_w1_a": (4, 4)}, "lora", "a LoRA"),
        ({"emb_params": (2, 768)}, "embedding", "--embedding"),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "embedding", "--embedding"),
        ({"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "control", "--control"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "down_blocks.0.resnets.0.x": ()}, "control", "Net"),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (9,)}, None, "motion module"),
        ({"image_proj.proj.weight": (9, 9), "ip_adapter.1.to_k_ip.weight": (9, 9)}, None, "an IP-Adapter"),
        ({"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}, "vae", "--vae"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, "vae", "--vae"),
        ({"taesd_decoder.1.weight": (64, 4, 3, 3)}, "vae", "--vae"),
        ({"input_blocks.0.0.weight": (320, 4, 3, 3)}, "diffusion", "a UNet alone"),
        ({"down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)}, "diffusion", "a UNet alone"),
        ({"text_model.final_layer_norm.weight": (768,)}, None, "a text encoder alone"),
        ({"conv_first.weight": (64, 3, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, "gan", "--gan"),
        ({"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}, "gan", "--gan"),
        ({"layers.0.residual_group.blocks.0.attn.qkv.weight": (9, 9)}, "gan", "--gan"),
        ({"x": (1,)}, None, "an unknown kind"),
    ],
)  # fmt: skip
def test_what_is_no_model_for_the_tiles_is_named(shapes: Shapes, kind: str | None, words: str, tmp_path: Path) -> None:
    contents = families.contents_of(header(tmp_path / "model.safetensors", shapes))
    assert contents.kind == kind
    assert words in contents.problem
    assert contents.recipe == ""
    assert len(contents.problem.splitlines()) == 1


def test_the_bundled_networks_are_what_they_are() -> None:
    for model in weights.bundled():
        if model.path.is_file():
            assert families.contents_of(model.path).kind == "gan"


def gguf_head(path: Path, tensors: dict[str, tuple[int, tuple[int, ...]]], **words: str) -> Path:
    """A GGUF file with a true head and a hole for its weights: by name, the number of a format and a shape."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(words) + 1)
    content += text("a.list") + struct.pack("<IIQ", 9, 8, 2) + text("one") + text("two")
    content += b"".join(
        text(key.replace("_", ".")) + struct.pack("<I", 8) + text(value) for key, value in words.items()
    )
    size = 0
    for name, (kind, shape) in tensors.items():
        content += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, size)
        _, block, length = ggufs.FORMATS.get(kind, ("", 1, 1))
        size += -(-math.prod(shape) // block * length // 32) * 32
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(-(-len(content) // 32) * 32 + size)
    return path


def test_gguf_is_told_by_its_tensors(tmp_path: Path) -> None:
    q4, f32 = 12, 0
    tensors = {"double_blocks.0.img_attn.qkv.weight": (q4, (9216, 3072)), "img_in.bias": (f32, (3072,))}
    path = gguf_head(tmp_path / "flux1-dev-Q4_K_S.gguf", tensors, general_architecture="flux")
    found = header_of(path)
    assert (found.form, found.numbers, found.metadata) == ("GGUF", "Q4_K", {"general.architecture": "flux"})
    assert found.shapes == {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.bias": (3072,)}
    assert families.contents_of(path) == families.Contents("diffusion", "Flux", "flux")
    sd1 = gguf_head(tmp_path / "sd1.gguf", {CONV_IN: (1, (320, 4, 3, 3)), TEXT: (f32, (768,))})
    assert "SD 1.x in GGUF, of which only SD 3 and Flux are read" in families.contents_of(sd1).problem
    words = gguf_head(tmp_path / "t5.gguf", {"enc.blk.0.attn_q.weight": (q4, (4096, 4096))})
    assert families.contents_of(words).kind is None


def test_gguf_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    tensors = {"double_blocks.0.img_attn.qkv.weight": (12, (9216, 3072))}
    path = gguf_head(tmp_path / "model.gguf", tensors)
    whole = path.read_bytes()
    long = whole[:8] + struct.pack("<QQ", 1, 10**9) + (struct.pack("<Q", 1) + b"x" + struct.pack("<IB", 0, 7)) * 400_000
    for content, words in (
        (whole[:-40], "is cut off"),
        (whole[:60], "is damaged or cut off"),
        (b"GGUF", "is damaged or cut off"),
        (whole[:4] + struct.pack(">I", 3) + whole[8:], "not a GGUF file of version 2 or 3"),
        (whole[:8] + struct.pack("<QQ", 2**63, 2**63) + whole[24:], "damaged"),
        (long, "its head is above 4 MiB"),
    ):
        path.write_bytes(content)
        contents = families.contents_of(path)
        assert words in contents.problem
        assert (contents.kind, len(contents.problem.splitlines())) == (None, 1)
    gguf_head(path, {"double_blocks.0.img_attn.qkv.weight": (16, (9216, 3072))})
    assert "a format of GGUF that diffusers does not read (number 16)" in families.contents_of(path).problem


def test_the_users_gguf_files_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of transformers; text encoders and language models, which nothing here reads, are not taken for networks."""
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path))
    gguf_head(tmp_path / "flux.gguf", {"double_blocks.0.img_attn.qkv.weight": (12, (9216, 3072))})
    gguf_head(tmp_path / "words.gguf", {"enc.blk.0.attn_q.weight": (12, (256, 256))})
    found = [model for model in weights.models() if model.path.parent == tmp_path]
    assert [(model.name, model.kind, model.family, model.problem) for model in found] == [
        ("flux", "diffusion", "Flux", "")
    ]


def test_pickles_are_listed_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "model.ckpt"
    content = {"state_dict": {CONV_IN: 1, TEXT: 2}, "callback": _Touch(marker)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
    assert families.contents_of(path).recipe == "sd1"
    assert not marker.exists()


class _Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    path = header(tmp_path / "model.safetensors", {CONV_IN: (320, 4, 3, 3), TEXT: (768,)})
    whole = path.read_bytes()
    deep = b"[" * 100_000
    for content, words in (
        (whole[:-10], "cut off"),
        (whole[:50], "damaged"),
        (b"", "not a model file"),
        (b"\xff" * 100, "not a model file"),
        (struct.pack("<Q", len(deep)) + deep, "damaged"),
        (struct.pack("<Q", 9) + b'{"a":{}}\n', "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(UnsupportedModel, match=words):
            header_of(path)
        contents = families.contents_of(path)
        assert contents.kind is None
        assert words in contents.problem
    assert "cannot be read" in families.contents_of(tmp_path / "nowhere").problem


def test_the_users_files_are_listed_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path))
    header(tmp_path / "photo.safetensors", {CONV_IN: (320, 4, 3, 3), TEXT: (768,)})
    header(tmp_path / "style.safetensors", {"lora_unet_x.lora_down.weight": (4, 320)})
    found = {model.name: model.kind for model in weights.models() if model.path.parent == tmp_path}
    assert found == {"photo": "diffusion", "style": "lora"}
    assert weights.find("photo", "diffusion") == tmp_path / "photo.safetensors"
