"""The app in a real browser, as a person uses it, with the bundled weights."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from upscaler.cli import main
from upscaler.pictures.files import read_settings

from .conftest import ROOT, running_app

pytestmark = pytest.mark.slow

OpenPage = Callable[..., Any]
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def drop(page: Any, *paths: Path) -> None:
    """Choose pictures, and wait until the app has read them."""
    page.set_input_files("#input input[type=file]", [str(path) for path in paths])
    page.wait_for_selector("#facts:not(:empty)", state="attached")
    page.wait_for_function("document.querySelector('#viewer .stage').dataset.zoom")


def scale(page: Any, factor: float) -> None:
    """Choose how much larger the result is."""
    if factor in (2, 4, 8):
        page.locator("#way label", has_text=f"×{factor}").click()
        return
    page.locator("#way label", has_text="Custom").click()
    page.locator("#custom label", has_text="Factor").click()
    field = page.locator("#scale input")
    field.fill(str(factor))
    field.blur()


def canvas(page: Any) -> str:
    """What the viewer shows, as a data URI."""
    return page.evaluate("document.querySelector('#viewer .view').toDataURL()")


def act(page: Any, action: str) -> None:
    """Choose something from the menu of the first result."""
    page.click("#history .item .opener >> nth=0")
    page.locator(f"#history [data-action={action}]:visible").first.click()


def choose(page: Any, preset: str) -> None:
    page.click(f"[data-preset={preset}]")
    page.wait_for_selector(f"[data-preset={preset}][aria-checked=true]")


def take_long(page: Any) -> None:
    """Choose settings with which each tile takes a second or more, but the enlargement does not."""
    choose(page, "fast")
    scale(page, 8)
    page.click("#advanced .label-wrap >> nth=0")
    page.locator("#advanced .label-wrap", has_text="Sampling").click()
    field = page.locator("#steps input[type=number]")
    field.fill("30")
    field.blur()


def status(page: Any) -> str:
    return page.inner_text("#status .prose, #status .html-container >> nth=0")


def finish(page: Any, seconds: float = 120) -> str:
    """Wait for the end of the run; what is said then."""
    page.wait_for_function(
        "/is finished|was stopped|failed/.test(document.querySelector('#status').innerText)", timeout=seconds * 1000
    )
    return status(page)


def download(page: Any, folder: Path) -> Path:
    page.wait_for_selector("#download:visible")
    with page.expect_download() as waiting:
        page.click("#download")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_picture_from_drop_to_download(open_page: OpenPage, small_photo: Path, tmp_path: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    facts = page.inner_text("#facts")
    assert "160x128" in facts
    assert "sRGB" in facts
    assert "8 bit" in facts
    choose(page, "fast")
    scale(page, 8)
    page.wait_for_function("document.querySelector('#plan').innerText.includes('1280x1024')")
    assert re.match(r"1280x1024, about \d+ s", page.inner_text("#plan"))
    assert "6 tiles (3x2) of 512x544 by pocket" in page.text_content("#plan")
    page.click("#run")
    seen, canvases = set(), set()
    for _ in range(1200):
        text = status(page)
        seen.add(text)
        canvases.add(canvas(page))
        if "is finished" in text:
            break
        time.sleep(0.1)
    told = " | ".join(seen)
    assert re.search(r"\d+% · about \d+ s left · Refining · tile \d of \d", told), told
    assert "is finished" in told
    assert len(canvases) >= 3  # the input, the enlarged picture, at least one state with refined tiles
    page.wait_for_selector("#viewer .stage[data-shown=split]")
    result = download(page, tmp_path)
    with Image.open(result) as image, Image.open(small_photo) as source:
        assert image.size == (1280, 1024)
        assert image.info["icc_profile"] == source.info["icc_profile"]
        assert image.getexif()[0x013B] == "A. Author"
    stored = read_settings(result)
    assert stored is not None
    assert stored["gan"]["model"] == "realesr-animevideov3"

    again = tmp_path / "cli" / result.name
    again.parent.mkdir()
    assert main(["run", str(small_photo), "-o", str(again), "--preset", "fast", "--scale", "8", "-q"]) == 0
    assert again.read_bytes() == result.read_bytes()


def test_stop_in_the_middle_of_a_tile(open_page: OpenPage, small_photo: Path, tmp_path: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    take_long(page)
    before = page.locator("#history .item").count()
    page.click("#run")
    page.wait_for_function("/Refining · tile [2-9]/.test(document.querySelector('#status').innerText)")
    begin = time.monotonic()
    page.click("#stop")
    page.wait_for_function("/is stopping|was stopped/.test(document.querySelector('#status').innerText)", timeout=1000)
    answered = time.monotonic() - begin
    assert "was stopped" in finish(page, 10)
    assert answered < 1
    page.wait_for_function(f"document.querySelectorAll('#history .item').length > {before}")
    assert page.locator("#history .item").first.get_attribute("class") == "item partial shown"
    kept = download(page, tmp_path)
    assert "partial" in kept.name
    with Image.open(kept) as image:
        assert image.size == (1280, 1024)
        assert np.asarray(image.convert("L")).std() > 10  # a picture, not black tiles


def test_an_area_is_marked_and_previewed_and_a_look_is_picked(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    choose(page, "fast")
    scale(page, 8)
    page.wait_for_function("document.querySelector('#preview').innerText.startsWith('Preview the centre, about')")
    frame = page.locator("#viewer .view").bounding_box()
    page.click("#viewer .marker")
    page.mouse.move(frame["x"] + frame["width"] * 0.45, frame["y"] + frame["height"] * 0.40)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.52, frame["y"] + frame["height"] * 0.50, steps=4)
    page.mouse.up()
    page.wait_for_function("document.querySelector('#preview').innerText.startsWith('Preview area, about')")
    page.click("#preview")
    assert "is finished" in finish(page)
    page.wait_for_selector("#viewer .stage[data-shown=split]")
    assert page.inner_text("#viewer .hint").startswith("Preview of an area")
    page.click("#compare")
    page.wait_for_function("document.querySelectorAll('#sheet img').length === 6", timeout=120_000)
    page.click("#sheet [data-look=texture]")
    page.wait_for_selector("[data-preset=texture][aria-checked=true]")


def test_the_viewer_by_keyboard_wheel_mouse_and_touch(browser: Any, app: Any, small_photo: Path) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(app.url)
    page.wait_for_selector("#viewer .nothing")
    drop(page, small_photo)
    choose(page, "fast")
    scale(page, 8)
    page.click("#run")
    finish(page)
    page.wait_for_selector("#viewer .stage[data-shown=split]")
    stage = page.locator("#viewer .stage")
    assert page.locator("#viewer .overview:visible").count() == 0
    page.click("#viewer [data-zoom='2']")
    page.wait_for_selector("#viewer .stage.zoomed[data-zoom='200']")
    assert page.locator("#viewer .overview:visible").count() == 1
    stage.focus()
    before = canvas(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert canvas(page) != before
    page.keyboard.press("0")
    page.wait_for_selector("#viewer .stage:not(.zoomed)")
    frame = page.locator("#viewer .view").bounding_box()
    middle = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    page.wait_for_selector("#viewer .stage.zoomed")
    page.click("#viewer [data-zoom=fit]")
    handle = page.locator("#viewer .handle")
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#viewer .handle').getAttribute('aria-valuenow') === '52'")
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#viewer .handle').getAttribute('aria-valuenow') === '0'")
    page.locator("#viewer select").select_option("after")
    result = canvas(page)
    shown = "document.querySelector('#viewer .stage').dataset.shown === '{}'"
    page.hover("#viewer .hold")
    page.mouse.down()
    page.wait_for_function(shown.format("original"))
    assert canvas(page) != result
    page.mouse.up()
    page.wait_for_function(shown.format("after"))
    page.keyboard.down("Space")
    page.wait_for_function(shown.format("original"))
    page.keyboard.up("Space")
    page.wait_for_function(shown.format("after"))
    touch = context.new_cdp_session(page)
    box = page.locator("#viewer .hold").bounding_box()
    finger = {"x": box["x"] + 20, "y": box["y"] + 10}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [finger]})
    page.wait_for_function(shown.format("original"))
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(shown.format("after"))
    spread = [[(-30, 30)], [(-120, 120)]]
    fingers = [[{"x": middle[0] + x, "y": middle[1], "id": i} for i, x in enumerate(pair)] for (pair,) in spread]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers[0]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": fingers[1]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector("#viewer .stage.zoomed")
    page.click("#viewer [data-zoom=fit]")
    plain = canvas(page)
    page.check("#viewer [data-layer=tiles]")
    page.wait_for_timeout(200)
    assert canvas(page) != plain
    context.close()


def test_pictures_are_chosen_by_keyboard(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    choosers: list[Any] = []
    page.on(
        "filechooser", lambda chooser: choosers.append(chooser)
    )  # all the time: expect_file_chooser is switched on too late now and then
    for chosen in (False, True):
        if chosen:
            drop(page, small_photo)
        page.focus("button#models-open")
        page.keyboard.press("Tab")
        for pressed, key in enumerate(("Enter", "Space") * 5, 1):
            page.keyboard.press(key)
            for _ in range(50):
                if len(choosers) >= pressed:
                    break
                page.wait_for_timeout(100)
            assert len(choosers) == pressed, f"{key}, number {pressed}, with {'a' if chosen else 'no'} picture"
        choosers.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(open_page: OpenPage, small_photo: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(color_scheme=scheme)
    drop(page, small_photo)
    choose(page, "fast")
    scale(page, 2)
    page.click("#run")
    finish(page)
    page.click("#advanced .label-wrap >> nth=0")
    page.wait_for_selector("#history .item")
    page.wait_for_timeout(500)
    found = axe.run(page).response["violations"]
    page.click("#models-open")
    page.wait_for_selector("#models .model")
    found += axe.run(page).response["violations"]
    page.keyboard.press("Escape")
    page.wait_for_selector("#run:visible")
    serious = [
        f"{fault['id']}: {fault['help']}\n" + "\n".join(node["html"][:200] for node in fault["nodes"][:4])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n\n".join(serious)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button:not(.upload-container), select, summary, [role=slider]')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && (box.width < 24 || box.height < 24);
        }).map(e => e.outerHTML.slice(0, 160))"""
    )
    assert small == []


def test_two_pages_never_mix(open_page: OpenPage, small_photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "second.png"
    with Image.open(small_photo) as photo:
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((0, 0, 96, 128)).save(other)
    first, second = open_page(), open_page()
    for page, path in ((first, small_photo), (second, other)):
        drop(page, path)
        choose(page, "fast")
        scale(page, 2)
    first.click("#run")
    second.click("#run")
    assert "hills" in finish(first)
    assert "second" in finish(second)
    sizes = []
    for page in (first, second):
        with Image.open(download(page, tmp_path)) as image:
            sizes.append(image.size)
    assert sizes == [(320, 256), (192, 256)]


def test_files_that_are_no_pictures(open_page: OpenPage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    bomb = tmp_path / "bomb.png"
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    end = b"IEND"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, end)
        )
    )
    page = open_page()
    for path, words in ((broken, "damaged"), (bomb, "3600 megapixels")):
        page.set_input_files("#input input[type=file]", str(path))
        page.wait_for_function(f"document.querySelector('#message')?.innerText.includes({json.dumps(words)})")
        message = page.inner_text("#message")
        assert path.name in message
        assert path.name in page.inner_text("#facts")  # where it was chosen, too
        assert str(tmp_path) not in message
        assert "/" not in message
        page.click("#run")  # nothing to run: the reason stays, and nothing is started
        page.wait_for_timeout(500)
        assert words in page.inner_text("#message")
        assert page.query_selector("#queue .item") is None
        page.reload()
        page.wait_for_selector("#viewer .nothing")


def test_the_sliders_and_their_numbers_follow_each_other(open_page: OpenPage) -> None:
    page = open_page()
    page.click("#advanced .label-wrap >> nth=0")
    strength, creativity = page.locator("#strength input"), page.locator("#creativity input[type=number]")
    assert (strength.input_value(), creativity.input_value()) == ("0.25", "50")
    creativity.fill("80")
    creativity.blur()
    page.wait_for_function("document.querySelector('#strength input').value === '0.64'")
    strength.fill("0.09")
    strength.blur()
    page.wait_for_function("document.querySelector('#creativity input[type=number]').value === '30'")
    page.wait_for_function("document.querySelector('[data-preset=photo]').innerText === 'Photo (changed)'")
    resemblance = page.locator("#resemblance input[type=number]")
    resemblance.fill("40")
    resemblance.blur()
    page.wait_for_function("document.querySelector('#consistency input').value === '0.4'")
    assert page.locator("#advanced .label-wrap", has_text="ControlNet").count() == 0  # of no use to this model


def test_keys_and_paste(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    data = base64.b64encode(small_photo.read_bytes()).decode()
    page.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        data,
    )
    page.wait_for_function("document.querySelector('#facts').innerText.includes('160x128')")
    take_long(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("/Refining/.test(document.querySelector('#status').innerText)")
    page.locator("#viewer .stage").focus()
    page.keyboard.down("Space")
    page.wait_for_selector("#viewer .stage[data-shown=original]")
    page.keyboard.up("Space")
    page.wait_for_selector("#viewer .stage[data-shown=after]")
    page.keyboard.press("Escape")
    assert "was stopped" in finish(page, 20)


@pytest.mark.parametrize("arguments", [(), ("--listen", "--one-user")])
def test_history_survives_a_restart_and_gives_settings_back(
    open_page: OpenPage, small_photo: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with running_app(tmp_path / "home", *arguments) as first:
        page = open_page(first.url)
        drop(page, small_photo)
        choose(page, "fast")
        scale(page, 1.5)
        page.click("#run")
        finish(page)
        result = download(page, tmp_path)
        page.goto("about:blank")
    with running_app(tmp_path / "home", *arguments) as again:
        page = open_page(again.url)
        page.wait_for_selector("#history .item.finished")
        page.click("#history .item .face")
        page.wait_for_selector("#viewer .stage[data-shown=split]")
        act(page, "restore")
        page.wait_for_function("document.querySelector('#scale input')?.value === '1.5'")
        scale(page, 3)
        choose(page, "photo")
        drop(page, result)  # an output of ours brings its settings along
        page.wait_for_function("document.querySelector('#scale input')?.value === '1.5'")
        assert "restored" in page.inner_text("#facts")
        act(page, "input")
        page.wait_for_function("document.querySelector('#facts').innerText.includes('240x192')")
        act(page, "remove")
        page.wait_for_function("document.querySelectorAll('#history .item').length === 0")
        page.click("#history [data-action=undo]")
        page.wait_for_selector("#history .item")
        page.goto("about:blank")


def test_a_run_goes_on_without_its_page_and_can_be_followed_and_stopped_from_another(
    open_page: OpenPage, small_photo: Path
) -> None:
    page = open_page()
    drop(page, small_photo)
    take_long(page)
    page.click("#run")
    page.wait_for_function("/Refining/.test(document.querySelector('#status').innerText)")
    page.click("#format input")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("Tab")  # leaves the list, which closes
    page.wait_for_function("document.querySelector('#format input').getAttribute('aria-expanded') === 'false'")
    page.click("#format input")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("Escape")  # closes the list, and stops nothing
    page.wait_for_selector("[role=option]", state="hidden")
    page.reload()
    page.wait_for_selector("#queue .item.running")
    assert page.is_disabled("#stop")
    page.click("#queue .item.running .face")
    page.wait_for_selector("#stop:enabled")
    assert re.search("Refining", status(page))
    page.locator("#queue [data-action=stop]").click(
        delay=1000
    )  # a slow finger: the list is brought up to date meanwhile
    assert "was stopped" in finish(page, 20)


def test_numbers_that_are_out_of_range_or_missing_are_said_in_words(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    scale(page, 4.5)
    field = page.locator("#scale input")
    field.fill("99")
    page.wait_for_function("document.querySelector('#plan').innerText.includes('Give 0.5 to 16')")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#message')?.innerText.includes('Give 0.5 to 16')")
    field.fill("")
    page.wait_for_function("document.querySelector('#plan').innerText.includes('640x512')")
    page.locator("#way label", has_text="Print").click()
    width, dpi = page.get_by_label("Width (cm)"), page.get_by_label("dpi")
    for field, before, typed, planned in ((dpi, "300", "100", "213x170"), (width, "5.42", "30", "1181x945")):
        assert field.input_value() == before  # 640 pixels at 300 dpi, the size that was planned last
        field.press("Control+a")
        field.press_sequentially(typed, delay=100)
        page.wait_for_function(f"document.querySelector('#plan').innerText.includes('{planned}')")


def test_what_is_done_while_the_app_is_slow_counts(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    page.evaluate(
        """() => {
            const real = window.fetch;
            window.fetch = async (...given) => { await new Promise(go => setTimeout(go, 1000)); return real(...given); };
        }"""
    )
    page.locator("#way label", has_text="Print").click()
    page.locator("#way label", has_text="Custom").click()
    page.wait_for_selector("#custom:visible")
    page.wait_for_selector("text=DPI", state="hidden")
    page.click("[data-preset=art]")
    page.click("[data-preset=anime]")
    page.wait_for_selector("[data-preset=anime][aria-checked=true]")


def test_a_result_is_dragged_onto_the_input(open_page: OpenPage, small_photo: Path) -> None:
    page = open_page()
    drop(page, small_photo)
    choose(page, "fast")
    scale(page, 1.5)
    page.click("#run")
    finish(page)
    page.wait_for_selector("#history .item.shown")
    page.drag_and_drop("#history .item.shown img", "#input")
    page.wait_for_function("document.querySelector('#facts').innerText.includes('240x192')")


def test_several_pictures_in_a_row(open_page: OpenPage, small_photo: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"row{number}.png")
        with Image.open(small_photo) as photo:
            photo.crop((number * 8, 0, number * 8 + 64, 64)).save(paths[-1])
    (tmp_path / "notes.txt").write_text("no picture")
    page = open_page()
    page.locator("#folder").locator("xpath=preceding::input[@type='file'][1]").set_input_files(tmp_path)
    page.wait_for_function("document.querySelector('#facts').innerText.includes('3 pictures')")
    choose(page, "fast")
    scale(page, 2)
    page.click("#run")
    page.wait_for_function(
        "['row0', 'row1', 'row2'].every(name => [...document.querySelectorAll('#history .item.finished b')].some(b => b.innerText === name))"
    )


def test_own_presets(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    page.click("#advanced .label-wrap >> nth=0")
    page.click("text=My presets")
    page.locator("#strength input").fill("0.4")
    page.locator("#strength input").blur()
    page.fill("#preset-name input, #preset-name textarea", "my-look")
    page.click("#preset-save")
    page.wait_for_selector("[data-preset=my-look]")
    page.wait_for_selector("#preset-export:enabled")
    with page.expect_download() as waiting:
        page.click("#preset-export")
    exported = tmp_path / "exported.json"
    waiting.value.save_as(exported)
    values = json.loads(exported.read_text())
    assert values["values"] == {"strength": 0.4}
    page.click("#preset-delete")
    page.wait_for_function("!document.querySelector('[data-preset=my-look]')")
    importing = page.locator("#preset-import").locator("xpath=preceding::input[@type='file'][1]")
    importing.set_input_files(str(exported))
    page.wait_for_selector("[data-preset=my-look]")
    choose(page, "fast")
    choose(page, "my-look")
    page.wait_for_function("document.querySelector('#strength input').value === '0.4'")
    evil = tmp_path / "evil.json"
    evil.write_text(json.dumps({**values, "name": "../evil"}))
    importing.set_input_files(str(evil))
    page.wait_for_function("document.querySelector('#message')?.innerText.includes('not allowed')")
    page.click("#preset-delete")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(open_page: OpenPage, small_photo: Path, width: int, height: int, scheme: str) -> None:
    page = open_page(width=width, height=height, color_scheme=scheme)
    drop(page, small_photo)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    in_sight = """() => {
        const run = document.querySelector('#run'), box = run.getBoundingClientRect();
        const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        return box.top >= 0 && box.bottom <= innerHeight && run.contains(top);
    }"""
    assert page.evaluate(in_sight), "in sight at once"
    if width == 390:
        assert page.locator("#viewer .bar").bounding_box()["height"] < 80, "two lines of buttons"
    gap = "document.querySelector('#go').getBoundingClientRect().bottom - document.querySelector('#run').getBoundingClientRect().bottom"
    assert page.evaluate(gap) < 20, "no empty strip below it"
    page.mouse.wheel(0, 3000)
    page.wait_for_timeout(300)
    assert page.evaluate(in_sight), "and it stays there"
    for selector in ("#input", "#presets", "#creativity", "#run", "#viewer .view", "#history"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 1


def test_nobody_gets_in_without_the_password(browser: Any, tmp_path: Path) -> None:
    with running_app(tmp_path / "closed", "--listen", "--auth", "ann:correct horse") as closed:
        page = browser.new_page()
        page.goto(closed.url)
        page.wait_for_selector("input[type=password]")
        assert page.locator("#run").count() == 0
        for password in ("wrong", "correct horse"):
            page.locator("input:not([type=password])").first.fill("ann")
            page.fill("input[type=password]", password)
            with page.expect_response("**/login") as answer:
                page.click("button:has-text('Login')")
            assert answer.value.ok == (password == "correct horse")
        page.wait_for_selector("#run")
        page.close()


def test_without_a_screen_the_desktop_window_gives_way_to_the_browser(tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened.txt", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in _SCREENS} | {
        "XDG_DATA_HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "BROWSER": str(browser),
    }
    log = tmp_path / "app.log"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "upscaler", "ui", "--desktop"]
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=stream, stderr=stream)
    try:
        for _ in range(600):
            if process.poll() is not None or (opened.is_file() and opened.read_text().strip()):
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        assert "cannot open a window" in log.read_text()
        visitor = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with visitor.open(opened.read_text().strip(), timeout=20) as answer:  # and it goes on
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(30)
