"""Fetches models from the hub: what is there already is kept, what was cut off goes on, and nothing half appears as whole.

A file arrives under a name of its own, which carries the hub's mark of this version (its ETag); it is checked, and takes
its place in one step. Used are plain HTTP, ranges, and the headers by which the hub tells size and SHA-256 of a large file.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import weights
from ..errors import ChecksumMismatch, WeightsError, WeightsNotFound
from ..text import one_line
from .manifest import Entry, Remote

OnBytes = Callable[[int, int], None]
"""(bytes that have arrived, bytes in all), after each block."""

_BLOCK = 1 << 20
_TRIES = 5  # in a row without a single byte
_SPARE = 200_000_000  # bytes of the disk that are left free
_SECONDS = 30  # without a byte until a connection counts as lost


@dataclass(frozen=True, slots=True)
class _Found:
    """What the hub says of a file: address, size, its mark of this version, and the SHA-256 of a large file."""

    url: str
    bytes: int
    mark: str
    sha256: str | None


def fetch(entry: Entry, *, on_bytes: OnBytes = lambda done, total: None) -> Path:
    """Fetch a model into the user's folder of models and give its path; one that is there is left alone.

    Raises:
        WeightsNotFound: the hub is out of reach, does not have it, or wants a login.
        ChecksumMismatch: what the hub has, or what arrived, is not what it should be.
        WeightsError: the disk is too small, or the connection was lost again and again.
    """
    folder = weights.user_folders()[-1]
    target = entry.target(folder)
    if target.exists():
        return target
    try:
        return _fetch(entry, folder, target, on_bytes)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror or one_line(error)})") from error


def _fetch(entry: Entry, folder: Path, target: Path, on_bytes: OnBytes) -> Path:
    found = [_look(entry, remote) for remote in entry.files]
    draft = folder / f".{entry.name}.part"
    draft.mkdir(parents=True, exist_ok=True)
    parts = [draft / f"{Path(remote.path).name}.{what.mark}.part" for remote, what in zip(entry.files, found)]
    done = [draft / Path(remote.path).name for remote in entry.files]
    total = sum(what.bytes for what in found)
    here = sum(_size(part) or _size(whole) for part, whole in zip(parts, done))
    free = shutil.disk_usage(draft).free
    if free < total - here + _SPARE:
        raise WeightsError(
            f"{entry.name}: needs {(total - here) / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f} GB are free; make "
            "room, or name another folder first in UPSCALER_MODELS"
        )
    before = 0
    for remote, what, part, whole in zip(entry.files, found, parts, done):
        if _size(whole) != what.bytes or not whole.is_file():
            _receive(entry, what, part, lambda size, start=before: on_bytes(start + size, total))
            _check(entry, remote, what, part)
            os.replace(part, whole)
        before += what.bytes
        on_bytes(before, total)
    for stray in set(draft.iterdir()) - set(done):  # of a version that the hub no longer has
        stray.unlink()
    os.replace(draft if len(done) > 1 else done[0], target)
    if len(done) == 1:
        draft.rmdir()
    return target


def _look(entry: Entry, remote: Remote) -> _Found:
    """Ask the hub for a file's size and mark, without its content."""
    url = f"{_endpoint()}/{entry.repository}/resolve/{entry.revision}/{remote.path}"
    try:
        answer, headers = _open(entry, url, head=True)
        answer.close()
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise WeightsNotFound(
            f"{entry.name}: {_host(url)} does not answer ({one_line(error)}); try again later"
        ) from error
    mark = re.sub(r'^W/|"', "", headers.get("x-linked-etag") or headers.get("etag") or "")
    size = headers.get("x-linked-size") or headers.get("content-length") or ""
    if not size.isdigit() or not re.fullmatch(r"[\w.-]+", mark):
        raise WeightsError(f"{url}: the server does not say which file it has (no size or ETag); try again later")
    # of a large file the hub's mark is its SHA-256; other servers mark files in their own ways
    sha256 = mark if "x-linked-etag" in headers and re.fullmatch(r"[0-9a-f]{64}", mark) else None
    for name, wanted, has in (("bytes", remote.bytes, int(size)), ("SHA-256", remote.sha256, sha256)):
        if wanted is not None and has is not None and wanted != has:
            raise ChecksumMismatch(
                f"{entry.name}: the hub has a {remote.path} that differs from the known one ({name} {has} instead of {wanted}); "
                "nothing was fetched; update upscaler"
            )
    return _Found(url, int(size), mark, sha256)


def _receive(entry: Entry, what: _Found, part: Path, on_size: Callable[[int], None]) -> None:
    """Get what is missing of a file, in as many connections as it takes."""
    tries, problem = 0, ""
    while (size := _size(part)) < what.bytes or not part.is_file():
        if tries == _TRIES:
            raise WeightsError(
                f"{entry.name}: the connection was lost at {size / 1e6:,.0f} of {what.bytes / 1e6:,.0f} MB ({problem}); run "
                "the command again to continue"
            )
        try:
            answer, _ = _open(entry, what.url, start=size)
            with answer:
                again = answer.status != 206  # the whole file, whatever was asked for
                with part.open("wb" if again else "ab") as file:
                    while block := answer.read(_BLOCK):
                        file.write(block)
                        on_size(file.tell())
                        if file.tell() > what.bytes:
                            break
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = one_line(error)
        tries = 0 if _size(part) > size else tries + 1


def _check(entry: Entry, remote: Remote, what: _Found, part: Path) -> None:
    """Against the manifest, and against what the hub says: SHA-256 of large files, git's hash of small ones."""
    sums = {digest for digest in (remote.sha256, what.sha256) if digest}
    wrong = part.stat().st_size != what.bytes or any(weights.sha256(part) != digest for digest in sums)
    if re.fullmatch(r"[0-9a-f]{40}", what.mark):
        content = part.read_bytes()
        wrong = (
            wrong or hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() != what.mark
        )
    if wrong:
        part.unlink()
        raise ChecksumMismatch(f"{entry.name}: {remote.path} arrived damaged (wrong checksum); fetch it again")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to `_open`, which reads the hub's headers on the way, and tells no other host the login."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _open(
    entry: Entry, url: str, *, head: bool = False, start: int = 0
) -> tuple[http.client.HTTPResponse, dict[str, str]]:
    """The answer to a request, from wherever the hub sends it, and all headers on the way in lower case.

    Raises:
        WeightsNotFound: in words for the user, where trying again would not help.
        HTTPException, ConnectionError, TimeoutError: the connection was lost.
    """
    headers: dict[str, str] = {}
    place = url
    for _ in range(10):
        request = urllib.request.Request(place, method="HEAD" if head else "GET")
        request.add_header("Accept-Encoding", "identity")
        if start:
            request.add_header("Range", f"bytes={start}-")
        token = _token()
        if token and _host(place) == _host(_endpoint()):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            answer = _OPENER.open(request, timeout=_SECONDS)
            return answer, {name.lower(): value for name, value in answer.headers.items()} | headers
        except urllib.error.HTTPError as error:
            told = {name.lower(): value for name, value in error.headers.items()}
            headers = {name: told[name] for name in _OF_THE_FILE if name in told} | headers
            if error.code in (301, 302, 303, 307, 308) and "location" in told:
                place = urllib.parse.urljoin(place, told["location"])
                continue
            if error.code >= 500 or error.code == 429:
                raise ConnectionError(f"the server answers {error.code}") from None
            raise _refused(entry, url, error.code) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, (TimeoutError, ConnectionResetError)):
                raise ConnectionError(one_line(error)) from None
            raise WeightsNotFound(
                f"{entry.name}: {_host(place)} cannot be reached ({error.reason}); check the network, or download {url} "
                f"elsewhere and copy it to {entry.target(weights.user_folders()[-1])}"
            ) from None
    raise WeightsError(f"{url}: the server redirects in a circle")


_OF_THE_FILE = ("x-linked-etag", "x-linked-size")


def _refused(entry: Entry, url: str, code: int) -> WeightsError:
    page = f"{_endpoint()}/{entry.repository}"
    if code in (401, 403):
        return WeightsNotFound(
            f"{entry.name}: the hub gives {entry.repository} only to users who have logged in and accepted its terms; do so on {page}, "
            "then run `hf auth login`, or set HF_TOKEN"
        )
    if code == 404:
        return WeightsNotFound(f"{entry.name}: the hub no longer has {url}; see {page}, and update upscaler")
    return WeightsError(f"{entry.name}: the hub refuses {url} (HTTP {code})")


def _endpoint() -> str:
    """The hub, or a mirror of it. Raises: `WeightsNotFound`, where the user has said that there is no network."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise WeightsNotFound("the hub is switched off by HF_HUB_OFFLINE; unset it to fetch models")
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _token() -> str:
    """The user's login at the hub; empty if there is none."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    try:
        return os.environ.get("HF_TOKEN") or (home / "token").read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
