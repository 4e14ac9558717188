"""Which pictures a batch has, where their results go, and what its manifest remembers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upscaler import batch
from upscaler.batch import MANIFEST, Arrivals, Job, Manifest, find_jobs, name_results
from upscaler.errors import ImageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a.jpg", "in/a.PNG", "in/notes.md", "in/sub/a.png", "other/a.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(*inputs: str, recursive: bool = False) -> list[str]:
    return [job.name for job in find_jobs(inputs, recursive=recursive)]


def test_folders_patterns_lists_and_files_are_found(folder: Path) -> None:
    assert names("in") == ["a.PNG", "a.jpg", "b.png"]
    assert names("in", recursive=True) == ["a.PNG", "a.jpg", "b.png", "sub/a.png"]
    assert names("in/*.png") == ["b.png"]
    assert names("in/**/a.png", recursive=True) == ["a.png"]
    (folder / "list.txt").write_text("\ufeffin/b.png\r\n\r\nother/a.png\n", "utf-8")
    jobs = find_jobs(["list.txt"])
    assert [job.source for job in jobs] == [Path("in/b.png"), Path("other/a.png")]
    assert names("missing.png") == ["missing.png"]  # its own error comes when it is opened
    assert names("in", "in/b.png", "in/a.jpg") == ["a.PNG", "a.jpg", "b.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "x[1].png").write_bytes(b"")
    assert names("x[1].png") == ["x[1].png"]


def test_nothing_found_is_told_with_what_to_do(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match=r"^empty: no pictures found \(.*\); use -r for folders inside folders$"):
        find_jobs(["empty"])
    with pytest.raises(ImageError, match="no pictures found"):
        find_jobs(["in/*.gif"])


def test_a_list_that_is_none_is_told_with_its_line(folder: Path) -> None:
    (folder / "notes.txt").write_text("in/b.png\nDear Anna,\n")
    with pytest.raises(ImageError, match=r"^notes\.txt: line 2, 'Dear Anna,', is not a file"):
        find_jobs(["notes.txt"])
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImageError, match=r"^binary\.txt: this list of pictures cannot be read"):
        find_jobs(["binary.txt"])


def test_results_keep_their_tree_and_never_meet(folder: Path) -> None:
    (folder / "third").mkdir()
    (folder / "third/a.png").write_bytes(b"")
    results = name_results(find_jobs(["in", "other", "third"], recursive=True), "-large.png")
    assert [str(path) for path in results.values()] == [
        "a-png-large.png",
        "a-jpg-large.png",
        "b-large.png",
        "sub/a-large.png",
        "a-large.png",
        "a-2-large.png",
    ]


def test_a_result_keeps_apart_from_that_of_a_picture_which_comes_later(folder: Path) -> None:
    first = name_results([Job(folder / "in/b.png", "b.png")], "-large.png")
    (folder / "in/b.TIF").write_bytes(b"")
    later = name_results([Job(folder / "in/b.TIF", "b.TIF")], "-large.png")
    assert [path.name for path in (*first.values(), *later.values())] == ["b-large.png", "b-tif-large.png"]


def test_hidden_pictures_are_left_out(folder: Path) -> None:
    (folder / "in/.thumbnails").mkdir()
    for name in (".c.png", ".thumbnails/d.png"):
        (folder / "in" / name).write_bytes(b"")
    assert names("in", recursive=True) == ["a.PNG", "a.jpg", "b.png", "sub/a.png"]


def test_a_damaged_picture_arrives_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, arrivals = Job(folder / "in/b.png", "b.png"), Arrivals()
    assert [arrivals.look([job]) for _ in range(3)] == [[], [], []]  # it may still grow
    monkeypatch.setattr(batch, "_PATIENCE", 0.0)
    assert [arrivals.look([job]) for _ in range(2)] == [[job], []]


def test_the_manifest_tells_what_became_of_a_picture(folder: Path) -> None:
    job, out = Job(folder / "in" / "b.png", "b.png"), folder / "out"
    result = out / "sub" / "b-large.png"
    assert Manifest(out).state(job, result) is None
    Manifest(out).mark(job, "failed", result, error="too dark")
    again = Manifest(out)
    assert again.state(job, result) == "failed"
    assert again.error(result) == "too dark"
    again.mark(job, "done", result, seconds=3)
    assert Manifest(out).state(job, result) is None  # the result is gone
    result.parent.mkdir()
    result.write_bytes(b"large")
    assert Manifest(out).state(job, result) == "done"
    assert Manifest(out).made(result)
    assert not Manifest(out).made(job.source)
    os.utime(job.source, ns=(1, 1))
    assert Manifest(out).state(job, result) is None  # the picture is another one
    assert [path.name for path in out.iterdir() if path.is_file()] == [MANIFEST]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pictures": 3}', '{"pictures": {"sub/b-large.png": []}}'])
def test_a_damaged_manifest_is_begun_anew(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    job, result = Job(folder / "in" / "b.png", "b.png"), folder / "sub" / "b-large.png"
    manifest = Manifest(folder)
    assert manifest.state(job, result) is None
    manifest.mark(job, "failed", result, error="no")
    assert Manifest(folder).state(job, result) == "failed"
