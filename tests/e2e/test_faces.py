"""Face models: GFPGAN's and RestoreFormer's loading code with random weights, and YuNet where it is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.GFPGAN import GFPGAN
from spandrel.architectures.RestoreFormer.__arch.restoreformer_arch import RestoreFormer

from upscaler import weights
from upscaler.errors import Cancelled, SettingsError, UnsupportedModel, UpscalerError, WeightsNotFound
from upscaler.families import contents_of
from upscaler.models import load_restorer, load_upscaler
from upscaler.models.faces.detect import YuNet, load_detector

FACE = np.random.default_rng(5).random((512, 512, 3), np.float32)


def quiet(step: int, steps: int) -> None:
    """Nobody wants to know."""


@pytest.fixture(scope="module")
def restoreformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RestoreFormer as it is published, but for the number of its channels, with random weights."""
    path = tmp_path_factory.mktemp("faces") / "restoreformer.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = RestoreFormer(n_embed=64, embed_dim=32, ch=32, ch_mult=(1, 1, 1, 1, 1, 1), z_channels=32)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


@pytest.mark.slow
def test_gfpgan_in_its_true_shape_is_pure_and_tells_its_steps(tmp_path: Path) -> None:
    """All 86 million weights: no smaller one is read, since its file does not say its shape."""
    with torch.device("meta"):
        network = GFPGAN(out_size=512, num_style_feat=512, channel_multiplier=2, num_mlp=8, input_is_latent=True,
                         different_w=True, narrow=1, sft_half=True)  # fmt: skip
    random = torch.Generator().manual_seed(2)
    state = {name: 0.05 * torch.randn(value.shape, generator=random) for name, value in network.state_dict().items()}
    path = tmp_path / "face.pth"
    torch.save({"params_ema": state}, path)
    del state
    assert contents_of(path).kind == "face"
    restorer: Any = load_restorer(str(path), device="cpu")
    steps: list[tuple[int, int]] = []
    first = restorer(FACE, on_step=lambda step, of: steps.append((step, of)))
    assert first.shape == FACE.shape
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert steps[-1][0] <= steps[-1][1]
    assert len(steps) > 50
    assert np.array_equal(restorer(FACE, on_step=quiet), first)  # spandrel's own call draws noise anew each time
    assert first.std() > 0.001


def test_restoreformer_and_stop(restoreformer: Path) -> None:
    assert contents_of(restoreformer).kind == "face"
    restorer: Any = load_restorer(str(restoreformer), device="cpu")
    drawn = restorer(FACE, on_step=quiet)
    assert drawn.shape == FACE.shape
    assert np.isfinite(drawn).all()

    def stop(step: int, steps: int) -> None:
        if step == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        restorer(FACE, on_step=stop)
    assert np.array_equal(restorer(FACE, on_step=quiet), drawn)


def test_models_of_another_kind_are_refused_both_ways(restoreformer: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"is not for faces; give GFPGAN or RestoreFormer"):
        load_restorer(str(weights.find("realesr-animevideov3", "gan")), device="cpu")
    with pytest.raises(UnsupportedModel, match=r"is for faces, not for super-resolution; give it as --face-model"):
        load_upscaler(str(restoreformer), device="cpu")
    with pytest.raises(WeightsNotFound, match=r"upscaler models fetch gfpgan-1\.4"):
        load_restorer("gfpgan-1.4", device="cpu")


def test_what_is_missing_for_finding_faces_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"nothing")
    pytest.importorskip("cv2")
    with pytest.raises(UnsupportedModel, match="is not YuNet"):
        YuNet(str(tmp_path / "yunet.onnx"))
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path))
    assert weights.find("yunet", "detector") == tmp_path / "yunet.onnx"
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SettingsError, match=r"needs OpenCV 4\.8 or later; .*\[faces\]"):
        load_detector()


class Network:
    """What OpenCV's YuNet does, without its weights: a face at the same part of every picture, and one that is broken."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802
        self.sizes.append(size)

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray]:
        height, width = image.shape[:2]
        assert (image.dtype, image.shape) == (np.uint8, (*self.sizes[-1][::-1], 3))
        box = np.array([0.2, 0.3, 0.1, 0.2, 0.22, 0.35, 0.28, 0.35, 0.25, 0.4, 0.22, 0.45, 0.28, 0.45])
        rows = np.stack([np.append(box * np.array([width, height] * 7), 0.9), np.full(15, np.nan)])
        return 2, rows.astype(np.float32)


def test_faces_are_looked_for_at_two_sizes_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    network = Network()
    monkeypatch.setattr("cv2.FaceDetectorYN.create", lambda *arguments: network)
    (face,) = YuNet("")(np.zeros((1000, 4000, 3), np.float32))
    assert network.sizes == [(2048, 512), (640, 160)]
    assert tuple(face.box) == pytest.approx((800, 300, 1200, 500), abs=1)
    assert face.points[2] == pytest.approx((1000, 400), abs=1)


def test_yunet_finds_a_drawn_face_nowhere_in_noise() -> None:
    try:
        detector = load_detector()
    except UpscalerError as error:
        pytest.skip(str(error))
    assert detector(np.random.default_rng(0).random((200, 300, 3), np.float32)) == []
