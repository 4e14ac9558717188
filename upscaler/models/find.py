"""The file or folder of a model: by name, by path, or from the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from .. import folders, weights
from ..errors import WeightsError, WeightsNotFound
from ..text import one_line

_UNREACHED = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "ConnectTimeout"}


def find_or_download(name: str, kind: weights.Kind, download: Callable[[str], Path], *, what: str) -> Path:
    """Where the model of that name or path lies, or else the one of that hub id, which is downloaded once.

    Args:
        download: takes a hub id, and returns the folder in the hub's cache.
        what: the user may give the path of instead, as in "a folder in diffusers format".

    Raises:
        WeightsNotFound: nothing of that name, and it is no hub id, or the hub does not have it or is out of reach.
    """
    try:
        return weights.find(name, kind)
    except WeightsNotFound:
        if not weights.HUB_ID.fullmatch(name):
            raise
    try:
        return download(name)
    except Exception as error:  # the hub's client raises many kinds, most of them about the network
        if _is_offline(error):
            raise WeightsNotFound(
                f"{name}: is not on this machine, and the hub cannot be reached; check the network, or give the path of {what}"
            ) from error
        raise WeightsNotFound(
            f"{name}: could not be fetched from the hub ({one_line(error)}); check the id and the network, log in with "
            f"`hf auth login` if it is gated, or give the path of {what}"
        ) from error


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that the hub was not reached."""
    while error is not None:
        if _UNREACHED & {kind.__name__ for kind in type(error).__mro__}:
            return True
        error = error.__cause__ or error.__context__
    return False


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder.

    Raises:
        WeightsError: there is no such file, or something else in it.
    """
    try:
        value = folders.read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read ({one_line(error)}); the model folder is not complete") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: is not a model description; the model folder is damaged")
    return cast("dict[str, Any]", value)
