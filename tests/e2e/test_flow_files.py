"""Files of Flux and Stable Diffusion 3: the same picture as the folder they were made from, and what they lack from a base."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import load_file, save_file

import upscaler
from upscaler import families, ggufs, weights
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UnsupportedModel, UpscalerError, WeightsNotFound
from upscaler.geometry import Box
from upscaler.models import load_refiner
from upscaler.models.diffusion.clip import clip_tokenizer
from upscaler.models.diffusion.states import is_packed
from upscaler.options.settings import Sampling

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoints import make_flux, make_sd, make_sd3
from flow_files import narrow_converter, transformer_state, write_gguf
from single_files import kl_names

TILE: Image = np.random.default_rng(5).random((64, 96, 3), np.float32)
BOX = Box(64, 32, 160, 96)
PREFIX = "model.diffusion_model."
NAMES = {"flux": "Flux", "sd3": "SD 3"}


def refine(refiner: upscaler.Refiner, prompt: str = "a red barn") -> Image:
    sampling = Sampling(scheduler="euler", steps=3, strength=0.5, prompt=prompt, negative_prompt="blur", guidance=3.5)
    return refiner([TILE], boxes=[BOX], sampling=sampling, seed=3, on_step=lambda k, n: None)[0]


def load(path: Path, **options: Any) -> Any:
    """Its weights in memory of their own: those of a mapped file are not aligned, which changes the last bits of sums."""
    refiner: Any = load_refiner(str(path), **{"device": "cpu", "precision": "float32", **options})
    for weight in refiner._parts.unet.parameters():
        if not is_packed(weight):
            weight.data = weight.data.clone()
    return refiner


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A narrow model of each family in diffusers format."""
    place = tmp_path_factory.mktemp("folders")
    return {"flux": make_flux(place / "flux-dev"), "sd3": make_sd3(place / "sd35")}


@pytest.fixture(autouse=True)
def narrow(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of a family are those of its narrow model."""
    monkeypatch.setattr(weights, "family_folder", folders.__getitem__)
    narrow_converter(32, monkeypatch)


def file_of(folder: Path, family: str, place: Path, *, prefix: str = "", number: torch.dtype = torch.float32) -> Path:
    state = transformer_state(folder, family)
    save_file({f"{prefix}{name}": value.to(number) for name, value in state.items()}, place)
    return place


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("family", NAMES)
def test_a_file_draws_what_the_folder_draws_that_it_was_made_from(
    family: str, prefix: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    file = file_of(folders[family], family, tmp_path / "model.safetensors", prefix=prefix)
    refiner = load(file, base=str(folders[family]))
    assert refine(refiner).tobytes() == refine(load(folders[family])).tobytes()
    assert refiner.about == f"{NAMES[family]}, single file, float32, the rest is that of {folders[family]}"


def test_the_versions_of_flux_are_told_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    """dev over schnell and the other way round: the base lends what they share, and not how they are run."""
    dev = Path(shutil.copytree(folders["flux"], tmp_path / "dev"))
    schnell = make_flux(tmp_path / "schnell", guidance=False)
    for part in ("vae", "text_encoder", "text_encoder_2"):
        shutil.copytree(dev / part, schnell / part, dirs_exist_ok=True)
    for version, base in ((dev, schnell), (schnell, dev)):
        file = file_of(version, "flux", tmp_path / f"{version.name}.safetensors")
        assert refine(load(file, base=str(base))).tobytes() == refine(load(version)).tobytes()


def test_the_sizes_of_stable_diffusion_3_are_told_from_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    """Another depth and width than the family's, no norm of queries and keys, no second attention."""
    other = Path(shutil.copytree(folders["sd3"], tmp_path / "sd3"))
    SD3Transformer2DModel(
        sample_size=32, in_channels=4, out_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=64, caption_projection_dim=16, pooled_projection_dim=64, pos_embed_max_size=48,
    ).save_pretrained(other / "transformer")  # fmt: skip
    file = file_of(other, "sd3", tmp_path / "medium.safetensors", prefix=PREFIX)
    assert refine(load(file, base=str(folders["sd3"]))).tobytes() == refine(load(other)).tobytes()


def whole_state(folder: Path, family: str, *, vae: str) -> dict[str, torch.Tensor]:
    """All of a model as one file has it; the summary of CLIP-L is not projected there, and the folder is changed to that."""
    parts = {"": "clip_l", "_2": "clip_g", "_3": "t5xxl"} if family == "sd3" else {"": "clip_l", "_2": "t5xxl"}
    state = {f"{PREFIX}{name}": value for name, value in transformer_state(folder, family).items()}
    (stored,) = (folder / "vae").glob("*.safetensors")
    state |= {f"{vae}{name}": value for name, value in kl_names(load_file(stored), 4).items()}
    for suffix, name in parts.items():
        if not (folder / f"text_encoder{suffix}").is_dir():
            continue
        (stored,) = (folder / f"text_encoder{suffix}").glob("*.safetensors")
        text = load_file(stored)
        if suffix == "" and "text_projection.weight" in text:
            text["text_projection.weight"] = torch.eye(len(text["text_projection.weight"]))
            save_file(text, stored, metadata={"format": "pt"})
            text.pop("text_projection.weight")
        state |= {f"text_encoders.{name}.transformer.{key}": value for key, value in text.items()}
    return {name: value.contiguous() for name, value in state.items()}


@pytest.mark.parametrize(("family", "vae"), [("sd3", "first_stage_model."), ("flux", "vae.")])
def test_a_whole_checkpoint_has_its_own_autoencoder_and_text_encoders(
    family: str, vae: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(folders[family], tmp_path / "own"))
    save_file(whole_state(own, family, vae=vae), tmp_path / "whole.safetensors")
    base = Path(shutil.copytree(own, tmp_path / "base"))
    for stored in [*base.glob("text_encoder*/*.safetensors"), *base.glob("vae/*.safetensors")]:
        save_file({key: value * 1.5 for key, value in load_file(stored).items()}, stored, metadata={"format": "pt"})
    whole = load(tmp_path / "whole.safetensors", base=str(base))
    assert "float32" in whole.about
    np.testing.assert_allclose(refine(whole), refine(load(own)), atol=1e-5)
    assert np.abs(refine(load(base)) - refine(load(own))).max() > 1e-3


def test_a_whole_checkpoint_of_stable_diffusion_3_needs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shapes of the family and the words of CLIP come with the package; T5, whose words do not, is left out."""
    own = make_sd3(tmp_path / "own", t5=False, words=49408)
    for suffix, pad in (("", "<|endoftext|>"), ("_2", "!")):
        clip_tokenizer(pad).save_pretrained(own / f"tokenizer{suffix}")
    shapes = shutil.copytree(own, tmp_path / "shapes", ignore=shutil.ignore_patterns("*.safetensors", "tokenizer*"))
    monkeypatch.setattr(weights, "family_folder", lambda recipe: Path(shapes))
    state = whole_state(own, "sd3", vae="first_stage_model.")
    t5 = {"text_encoders.t5xxl.transformer.shared.weight": torch.zeros(4, 4)}
    save_file({**state, **t5}, tmp_path / "whole.safetensors")
    whole = load(tmp_path / "whole.safetensors")
    assert whole.about == "SD 3, single file, float32, without T5"
    np.testing.assert_allclose(refine(whole), refine(load(own)), atol=1e-5)


@pytest.mark.parametrize("number", [torch.float16, torch.float8_e4m3fn])
def test_other_number_formats_are_read(number: torch.dtype, folders: dict[str, Path], tmp_path: Path) -> None:
    file = file_of(folders["flux"], "flux", tmp_path / "small.safetensors", number=number)
    small = load(file, base=str(folders["flux"]))
    assert {weight.dtype for weight in small._parts.unet.parameters()} == {torch.float32}
    assert np.abs(refine(small) - refine(load(folders["flux"]))).mean() < (0.05 if number.itemsize == 1 else 1e-3)


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize(("format", "bar"), [("F32", 0), ("F16", 1e-6), ("BF16", 1e-6), ("Q8_0", 2e-3), ("Q4_0", 2e-2)])
def test_gguf_draws_what_its_numbers_say(
    family: str, format: str, bar: float, folders: dict[str, Path], tmp_path: Path
) -> None:
    """The same as the folder with its matrices rounded as the format rounds them, by the package that wrote the file.

    diffusers unpacks to float16.
    """
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType[format]
    file = write_gguf(tmp_path / "model.gguf", transformer_state(folders[family], family), format, family=family)
    refiner = load(file, base=str(folders[family]))
    assert refiner.about == f"{NAMES[family]}, GGUF, {format}, the rest is that of {folders[family]}"
    rounded = load(folders[family])
    for weight in rounded._parts.unet.parameters():
        if weight.ndim == 2 and weight.shape[1] % 32 == 0:
            plain = gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), kind), kind)
            weight.data = torch.from_numpy(plain.copy())
    np.testing.assert_allclose(refine(refiner), refine(rounded), atol=bar, rtol=0)


def test_gguf_stays_packed(folders: dict[str, Path], tmp_path: Path) -> None:
    """In reduced precision too; float8, which is not smaller, is not asked of it, and nothing is raised to float32."""
    state = {f"{PREFIX}{name}": value for name, value in transformer_state(folders["flux"], "flux").items()}
    file = write_gguf(tmp_path / "model.gguf", state, "Q8_0", family="flux")
    base = str(folders["flux"])
    plain = load(file, base=base)
    assert plain._parts.fixed
    assert plain._parts.unet.x_embedder.weight.dtype == torch.float32  # 16 columns make no block
    assert plain._parts.unet.context_embedder.weight.dtype == torch.uint8
    assert refine(load(file, base=base, storage="float8")).tobytes() == refine(plain).tobytes()
    reduced = refine(load(file, base=base, precision="bfloat16"))
    wide = refine(load(folders["flux"], precision="bfloat16"))
    assert np.abs(reduced - wide).mean() < np.abs(wide - refine(load(folders["flux"]))).mean()


def test_gguf_without_its_package_says_so(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(tmp_path / "model.gguf", transformer_state(folders["flux"], "flux"), "F16", family="flux")
    monkeypatch.setattr("upscaler.models.diffusion.states.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"diffusion\.model: model\.gguf .*pip install gguf"):
        load(file, base=str(folders["flux"]))


def test_the_base_is_found_by_itself(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the user's models, or in the hub's cache, where it may lack its transformer."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    file = file_of(folders["flux"], "flux", tmp_path / "model.safetensors")
    with pytest.raises(WeightsNotFound) as caught:
        load(file)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(word in message for word in ("model.safetensors", "diffusion.base", "black-forest-labs/FLUX.1-schnell"))
    snapshot = tmp_path / "hub" / "models--black-forest-labs--FLUX.1-schnell" / "snapshots" / "abc"
    shutil.copytree(
        folders["flux"],
        snapshot,
        ignore=lambda folder, names: (
            {"diffusion_pytorch_model.safetensors"} & {*names} if folder.endswith("transformer") else set()
        ),
    )
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    assert weights.models("diffusion")[-1].name != "black-forest-labs/FLUX.1-schnell", "alone it cannot run"
    for base in ("auto", "black-forest-labs/FLUX.1-schnell"):
        found = load(file, base=base)
        assert found.about.endswith("the rest is that of black-forest-labs/FLUX.1-schnell")
    monkeypatch.setenv("UPSCALER_MODELS", str(folders["flux"].parent))
    assert load(file).about.endswith("the rest is that of flux-dev")
    assert load(file, base="flux-dev").about.endswith("the rest is that of flux-dev")


def test_of_a_base_on_the_hub_the_transformer_is_not_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(hub_id: str, **options: Any) -> str:
        asked.append({"id": hub_id, **options})
        return str(folders["flux"])

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    load(file_of(folders["flux"], "flux", tmp_path / "model.safetensors"), base="someone/flux")
    (options,) = asked
    assert options["id"] == "someone/flux"
    assert "transformer" in options, "diffusers leaves out what it is given"
    assert options["use_safetensors"]
    assert not options["trust_remote_code"]


def test_a_run_from_end_to_end(folders: dict[str, Path], tmp_path: Path) -> None:
    file = file_of(folders["sd3"], "sd3", tmp_path / "model.safetensors")
    small = np.random.default_rng(1).random((40, 50, 3)).astype(np.float32)
    options: dict[str, Any] = {"model": str(file), "gan": "none", "tile": "96", "overlap": 32, "feather": 16}
    plan = upscaler.plan(small, scale=3, **options)
    assert plan.sampling.guidance == 4.5
    assert plan.tiles is not None
    assert all(side % 16 == 0 for side in plan.tiles.tile)
    result = upscaler.upscale(small, 3, base=str(folders["sd3"]), steps=1, device="cpu", **options)
    assert result.size == (150, 120)


def test_what_does_not_fit_is_said_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    state = transformer_state(folders["flux"], "flux")
    file = tmp_path / "model.safetensors"
    changes: list[tuple[dict[str, torch.Tensor | None], str]] = [
        ({"img_in.bias": None}, "its transformer is not that of Flux: img_in.bias is missing"),
        ({"double_blocks.1.img_mod.lin.weight": None}, "double_blocks.1.img_mod.lin.weight is missing"),
        ({"txt_in.weight": torch.zeros(3, 5)}, "is [3, 5] instead of [32, 64]"),
        ({"double_blocks.1000000.img_mod.lin.weight": torch.zeros(1)}, "it has 1000001 blocks"),
        ({"double_blocks.x.img_mod.lin.weight": torch.zeros(1)}, "cannot be loaded"),
    ]
    for change, words in changes:
        left = {name: value for name, value in {**state, **change}.items() if value is not None}
        save_file(left, file)
        with pytest.raises(UnsupportedModel) as caught:
            load(file, base=str(folders["flux"]))
        assert words in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    save_file(state, file)
    for other in (folders["sd3"], make_sd(tmp_path / "sd"), file):
        with pytest.raises(
            SettingsError, match=r"diffusion\.base: model\.safetensors takes what it lacks from a Flux model"
        ):
            load(file, base=str(other))
    with pytest.raises(SettingsError, match=r"diffusion\.control: model\.safetensors takes no ControlNet"):
        load(file, control="tile")


def test_the_head_of_gguf_is_that_of_its_own_reader(folders: dict[str, Path], tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    for number, (name, block, size) in ggufs.FORMATS.items():
        assert gguf.GGMLQuantizationType(number).name == name
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)] == (block, size)
    file = write_gguf(tmp_path / "model.gguf", transformer_state(folders["sd3"], "sd3"), "Q8_0", family="sd3")
    head = ggufs.read_head(file)
    assert head.metadata == {"general.architecture": "sd3"}
    for tensor in gguf.GGUFReader(file).tensors:
        found = head.tensors[tensor.name]
        assert (*found.shape[::-1],) == (*tensor.shape.tolist(),)
        assert (found.format, found.start, found.bytes) == (tensor.tensor_type.name, tensor.data_offset, tensor.n_bytes)


@pytest.mark.slow
def test_damaged_gguf_is_one_line_each(folders: dict[str, Path], tmp_path: Path) -> None:
    """Bytes of the head changed at random, lengths made huge, files cut: one line, or a picture of numbers."""
    rng, base = random.Random(4), str(folders["flux"])
    whole = write_gguf(tmp_path / "whole.gguf", transformer_state(folders["flux"], "flux"), "Q8_0", family="flux")
    content, file, refused = whole.read_bytes(), tmp_path / "model.gguf", list[str]()
    head = content.index(b"final_layer")
    for number in range(60):
        damaged = bytearray(content)
        how = number % 4
        if how == 0:
            damaged = damaged[: rng.randrange(len(content))]
        elif how == 1:
            for _ in range(3):
                damaged[rng.randrange(4, head)] = rng.randrange(256)
        elif how == 2:
            place = rng.choice([8, 16, rng.randrange(4, head)])
            damaged[place : place + 8] = rng.choice([2**63, 2**40, 2**32 - 1, 2**64 - 1]).to_bytes(8, "little")
        else:
            place = rng.randrange(4, head)
            damaged[place:place] = rng.randbytes(rng.randrange(1, 9))
        file.write_bytes(damaged)
        contents = families.contents_of(file)
        assert len(contents.problem.splitlines()) <= 1
        try:
            refine(load(file, base=base))
        except UpscalerError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert all(len(message.splitlines()) == 1 and len(message) < 700 for message in refused)


@pytest.mark.parametrize(
    ("family", "changes", "numbers"),
    [
        ("flux", {"guidance_embeds": True}, 11_901_408_320),
        ("flux", {}, 11_891_178_560),
        ("sd3", {}, 2_028_328_000),
        ("sd3", {"qk_norm": "rms_norm", "dual_attention_layers": range(13), "pos_embed_max_size": 384}, 2_243_171_520),
        (
            "sd3",
            {"qk_norm": "rms_norm", "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432},
            8_056_627_520,
        ),
    ],
    ids=["dev", "schnell", "SD 3 medium", "SD 3.5 medium", "SD 3.5 large"],
)
def test_the_shapes_of_the_families(
    family: str, changes: dict[str, Any], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published numbers of parameters."""
    monkeypatch.undo()
    kind: Any = FluxTransformer2DModel if family == "flux" else SD3Transformer2DModel
    config = kind.load_config(weights.family_folder(family) / "transformer")
    with init_empty_weights():
        assert sum(weight.numel() for weight in kind.from_config(config, **changes).parameters()) == numbers
