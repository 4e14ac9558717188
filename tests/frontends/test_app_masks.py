"""The mask that is brushed over a picture in the app: what the browser sends, what a job does with it, and the brush itself."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

from upscaler_ui.app import jobs, showing
from upscaler_ui.app.inputs import painted_mask
from upscaler_ui.app.jobs import Worker
from upscaler_ui.app.page import Page
from upscaler_ui.app.sessions import Sessions

from upscaler.options.settings import Settings
from upscaler.pictures.files import load
from upscaler.testing import InvertRefiner, NearestUpscaler

SETTINGS = Settings.of(scale=2, tile="64", overlap=16, feather=8, seams="none", strength=1.0)


def sent(mask: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def test_what_a_browser_sends_is_a_mask_or_nothing() -> None:
    mask = np.zeros((6, 8), np.uint8)
    assert painted_mask(sent(mask)) is None, "nothing was painted"
    mask[:, :4] = 255
    np.testing.assert_array_equal(painted_mask(sent(mask)), mask / 255)
    for wrong in (None, 3, "", "data:image/png;base64,AAAA", "data:image/png;base64,*", "data:text/html,x"):
        assert painted_mask(wrong) is None


@pytest.mark.parametrize("painted", [False, True])
def test_a_job_redraws_what_was_painted(
    painted: bool, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "upscaler_for", lambda settings: NearestUpscaler(scale=2))
    monkeypatch.setattr(jobs, "refiner_for", lambda settings: InvertRefiner())
    photo = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (80, 96, 3), np.uint8)).save(photo)
    worker = Worker()
    try:
        session, page = Sessions(tmp_path / "history", worker).session(None, "page"), Page()
        page.choose([photo], None)
        (item,) = page.readable
        (without,) = session.start([item], SETTINGS.but(strength=0.0))
        mask = np.zeros((80, 96), np.uint8)
        mask[:, 48:] = 255
        page.paint(painted_mask(sent(mask)) if painted else None)
        (job,) = session.start([item], SETTINGS, page.mask_of(item))
        while not job.state.over:
            time.sleep(0.02)
        plain, redrawn = (load(session.history.get(each.id).result_path).pixels for each in (without, job))  # type: ignore[union-attr]
    finally:
        worker.close()
    assert (plain[:, :92] == redrawn[:, :92]).all() == painted, "a mask smaller than the result is soft where it ends"
    assert (plain[:, 104:] != redrawn[:, 104:]).any()
    shown = showing.viewer(page, session.history.get(job.id))
    assert (shown["paintable"], shown["mask"]) == (True, int(painted))
    page.choose([photo], None)
    assert page.mask is None, "it was for the picture that was chosen before"


@pytest.mark.slow
def test_a_mask_is_brushed_erased_and_cleared(open_page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (96, 64), (40, 90, 60)).save(tmp_path / "green.png")
    page = open_page()
    page.set_input_files("#input input[type=file]", [str(tmp_path / "green.png")])
    page.wait_for_function("document.querySelector('#viewer .stage').dataset.zoom")

    def red() -> int:
        """How many pixels of the view the mask covers."""
        page.wait_for_timeout(200)
        return page.evaluate(
            "(() => { const v = document.querySelector('#viewer .view'), d = v.getContext('2d').getImageData(0, 0, v.width, v.height).data;"
            " let n = 0; for (let i = 0; i < d.length; i += 4) n += d[i] > 90 && d[i] < 160 && d[i + 1] < 85; return n; })()"
        )

    def stroke() -> None:
        box = page.locator("#viewer .view").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x - 90, y)
        page.mouse.down()
        page.mouse.move(x + 90, y, steps=6)
        page.mouse.up()
        page.mouse.move(5, 5)

    assert red() == 0
    page.click("#viewer .painter")
    stroke()
    painted = red()
    assert painted > 2000
    page.click("#viewer .eraser")
    page.locator("#viewer .brush input").fill("2")
    stroke()
    assert 0 < red() < painted
    page.click("#viewer .clear")
    assert red() == 0
