"""Files written: whole or absent, never over another one unasked, never over what is no file; and names of any length."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscaler import folders
from upscaler.errors import ImageError, SettingsError
from upscaler.folders import beside, whole_or_absent
from upscaler.geometry import Size
from upscaler.options import presets
from upscaler.options.settings import Settings
from upscaler.pictures import files
from upscaler.pictures.files import check_output, load, save
from upscaler.pictures.picture import Picture

POSIX = pytest.mark.skipif(os.name == "nt", reason="no such files")
PICTURE = Picture(np.full((8, 9, 3), 0.5, np.float32))


def test_of_three_who_write_one_new_file_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_checked, write = threading.Barrier(3, timeout=10), files.write

    def late(*args: Any) -> Any:
        all_checked.wait()
        return write(*args)

    monkeypatch.setattr(files, "write", late)

    def attempt(shade: float) -> str:
        try:
            save(Picture(np.full((8, 9, 3), shade, np.float32)), tmp_path / "new.png")
        except ImageError as error:
            return str(error)
        return "saved"

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(attempt, (0.2, 0.5, 0.8)))
    assert sorted(outcome == "saved" for outcome in outcomes) == [False, False, True]
    assert all("new.png: already exists" in outcome for outcome in outcomes if outcome != "saved")
    shade = (0.2, 0.5, 0.8)[outcomes.index("saved")]
    assert abs(load(tmp_path / "new.png").pixels[0, 0, 0] - shade) < 0.01
    assert os.listdir(tmp_path) == ["new.png"]


def test_without_links_on_the_disk_a_name_is_still_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    save(PICTURE, tmp_path / "a.png")

    def race() -> None:
        with whole_or_absent(tmp_path / "b", overwrite=False) as stream:
            stream.write(b"mine")
            (tmp_path / "b").write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        race()
    assert (tmp_path / "b").read_bytes() == b"theirs"
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b"]


@POSIX
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.png", tmp_path / "link.png"
    target.write_bytes(b"before")
    link.symlink_to(target)
    with pytest.raises(ImageError, match=r"link\.png: already exists"):
        save(PICTURE, link)
    save(PICTURE, link, overwrite=True)
    assert link.is_symlink()
    assert load(target).size == (9, 8)
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "far" / "new.png")
    save(PICTURE, dangling)
    assert dangling.is_symlink()
    assert (tmp_path / "far" / "new.png").is_file()
    circle = tmp_path / "circle.png"
    circle.symlink_to(circle)
    for overwrite in (False, True):
        with pytest.raises(ImageError, match=r"circle\.png: cannot be written"):
            save(PICTURE, circle, overwrite=overwrite)


@POSIX
def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for overwrite in (False, True):
        with pytest.raises(ImageError, match=r"pipe\.png: cannot be written .*a pipe, not a regular file"):
            check_output(pipe, Size(9, 8), overwrite=overwrite)
        with pytest.raises(ImageError, match="not a regular file"):
            save(PICTURE, pipe, overwrite=overwrite)
        with pytest.raises(ImageError, match="a device, not a regular file"):
            check_output("/dev/null", Size(9, 8), format="png", overwrite=overwrite)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@POSIX
def test_who_may_read_a_file_is_the_same_after_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "private.png"
    path.touch(mode=0o600)
    save(PICTURE, path, overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("length", [252, 256, 5000])
def test_names_that_are_too_long_are_one_line(tmp_path: Path, length: int) -> None:
    path = tmp_path / f"{'n' * length}.png"
    for act in (lambda: check_output(path, Size(9, 8)), lambda: save(PICTURE, path), lambda: load(path)):
        with pytest.raises(ImageError, match=r"(?i)name too long.*name") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_the_longest_name_that_there_is_can_be_written(tmp_path: Path) -> None:
    for name in (f"{'n' * 251}.png", f"{'ä' * 125}.png"):
        save(PICTURE, tmp_path / name)
        other = beside(tmp_path / name, ".partial.png")
        assert len(os.fsencode(other.name)) <= 255
        save(PICTURE, other)
    assert beside(Path("a/large.png"), "-compare.png") == Path("a/large-compare.png")


def test_a_result_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match=r"file.x\.png: cannot be written \(Not a directory\)"):
        check_output(tmp_path / "file" / "x.png", Size(9, 8))


_WRITER = """
import sys, time
from pathlib import Path
from upscaler.folders import beside, whole_or_absent
with whole_or_absent(Path(sys.argv[1])) as stream:
    stream.write(b"half"); stream.flush(); print("writing", flush=True); time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path / name], stdout=subprocess.PIPE) for name in "ab"
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline().strip() == b"writing"
        assert len(os.listdir(tmp_path)) == 2
        writers[0].kill()
        writers[0].wait()
        folders.remove_left_drafts.cache_clear()
        save(PICTURE, tmp_path / "new.png")
        assert len(os.listdir(tmp_path)) == 2  # the new one and that of the writer that lives
        writers[1].send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        writers[1].wait()
        folders.remove_left_drafts.cache_clear()
        save(PICTURE, tmp_path / "newer.png")
        assert sorted(os.listdir(tmp_path)) == ["new.png", "newer.png"]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()


def test_a_preset_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    presets.save("first-come", Settings())
    file = folders.data_folder() / "presets" / "first-come.json"
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path != file and exists(path))  # it came there a moment later
    with pytest.raises(SettingsError, match="already exists"):
        presets.save("first-come", Settings().but(strength=0.9))
    assert presets.get("first-come").values == {}
    presets.delete("first-come")
