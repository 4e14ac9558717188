"""Where the user's own files are kept, and how a file is written so that it is never half there."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import platformdirs

if os.name == "posix":
    import fcntl

_DRAFT = re.compile(r"\.upscaler-[0-9a-f]{16}\.part")
_MOST_TRIES = 20  # one is enough, but for another process that cleans up in the same instant
_LONGEST_NAME = 240  # bytes of a name that we choose; 255 is the most nearly everywhere, and others are made from it
_LONGEST_JSON = 64 << 20  # bytes
MOST_NOTES = 500  # that `note` keeps
_drafts: set[Path] = set()  # of this process, at work


def data_folder() -> Path:
    """What the user made or put there: models and presets."""
    return Path(platformdirs.user_data_dir("upscaler", appauthor=False))


def state_folder() -> Path:
    """What the program remembers of this machine, and what may be lost."""
    return Path(platformdirs.user_state_dir("upscaler", appauthor=False))


@contextmanager
def whole_or_absent(path: Path, *, overwrite: bool = True) -> Generator[IO[bytes], None, None]:
    """A file to write to that takes its name when the block has ended well, and leaves nothing where it has not.

    What is there already is replaced at that moment, with its permissions kept; a symbolic link stays, and the file
    that it leads to is written. What killed processes have left in the folder is removed.

    Args:
        overwrite: False never replaces a file, not even one that came there while the block ran.

    Raises:
        FileExistsError: there is a file, and it is not to be replaced.
        OSError: it cannot be written, or is a folder, a device or anything else that is not a regular file.
    """
    path = Path(os.path.realpath(path))
    mode = replaceable(path)
    remove_left_drafts(path.parent)
    draft, stream = _new_draft(path.parent)
    try:
        with stream:
            if mode is not None and os.name == "posix":
                with suppress(OSError):  # of a file system without permissions
                    os.fchmod(stream.fileno(), mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # or the name could outlive a loss of power, and the bytes not
            if os.name == "posix":
                _give_name(draft, path, overwrite)
        if os.name != "posix":  # where a file that is open cannot be renamed
            _give_name(draft, path, overwrite)
    finally:
        _drafts.discard(draft)
        draft.unlink(missing_ok=True)


def replaceable(path: Path) -> int | None:
    """The permissions of the regular file there, or `None` where nothing is.

    Raises:
        OSError: something else is there, such as a folder or a device, or the name cannot be one.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, f"it is {_kind(found.st_mode)}, not a regular file", str(path))
    return stat.S_IMODE(found.st_mode)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _new_draft(folder: Path) -> tuple[Path, IO[bytes]]:
    """A new file to write, held so that nobody takes it for one of a process that has ended."""
    for _ in range(_MOST_TRIES):
        draft = folder / f".upscaler-{secrets.token_hex(8)}.part"
        stream = draft.open("x+b")
        if _hold(stream) and os.path.lexists(draft):
            _drafts.add(draft)
            return draft, stream
        stream.close()  # another process took it for a dead one in that moment, and has removed it
    raise OSError(0, "new files vanish at once", str(folder))


def _hold(stream: IO[bytes]) -> bool:
    """Whether the file is ours from now on, until it is closed; always where files in use cannot be removed anyway."""
    if os.name == "posix":
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _give_name(draft: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(draft, path)
        return
    if os.name != "posix":
        os.rename(draft, path)  # which fails on Windows where there is a file
        return
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name first, then what belongs to it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(draft, path)


@lru_cache(maxsize=64)  # once for each folder: it may hold many files
def remove_left_drafts(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed; those that are being written stay."""
    left: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        left = [
            entry.path for entry in entries if _DRAFT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for path in left:
        with suppress(OSError):
            if os.name == "posix":
                with open(path, "r+b") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where it is being written
                    os.unlink(path)
            else:
                os.unlink(path)  # which fails where it is open


def drop_drafts() -> None:
    """Remove the unfinished files of this process, which is about to end without any further ado."""
    for draft in list(_drafts):
        with suppress(OSError):
            draft.unlink()


def beside(path: Path, mark: str) -> Path:
    """The file beside `path` that is called like it with `mark` in place of the suffix, cut to what a name may be.

    >>> beside(Path("large.png"), ".partial.png").name
    'large.partial.png'
    """
    return path.with_name(fitting(path.stem, mark))


def fitting(stem: str, mark: str) -> str:
    """The name `stem` + `mark`, its stem cut where it would be longer than a file's name may be."""
    while len(os.fsencode(stem + mark)) > _LONGEST_NAME and stem:
        stem = stem[:-1]
    return stem + mark


def read_json(path: Path) -> Any:
    """What is in a JSON file from anywhere.

    Raises:
        OSError: there is no such file, or it is a pipe or a device, which could keep its reader waiting for good.
        ValueError, RecursionError: it is not JSON, too long, or too deep.
    """
    if replaceable(path) is None:
        raise FileNotFoundError(2, "No such file or directory", str(path))
    with path.open("rb") as stream:
        content = stream.read(_LONGEST_JSON + 1)
    if len(content) > _LONGEST_JSON:
        raise ValueError(f"longer than {_LONGEST_JSON >> 20} MiB")
    return json.loads(content.decode("utf-8"))


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file, or something else in it."""
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def replace_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write a file that is whole or absent at every moment, in a folder that is made where it is missing.

    Raises:
        FileExistsError: there is one, and `overwrite` is False.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path, overwrite=overwrite) as stream:
        stream.write(text.encode("utf-8"))


def note(path: Path, known: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Write what was known and what is new to it as a JSON object, the most recent last and no more than `MOST_NOTES`.

    It is not missed where that fails.
    """
    values = {key: value for key, value in known.items() if key not in new} | dict(new)
    with suppress(OSError):
        replace_text(path, json.dumps(dict(list(values.items())[-MOST_NOTES:]), indent=0))
