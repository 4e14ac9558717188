"""Turns pickles into safetensors once, weights-only, so that nothing has to read the pickle again."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from .. import families
from ..errors import SettingsError, WeightsError

VALUES = "upscaler.values"
"""Key of the metadata where plain values beside the tensors are kept, as JSON: ranks and lists of modules, for example."""


def convert(source: Path, target: Path | None = None) -> Path:
    """Write the tensors of a pickle as safetensors and give its path; no code in the pickle is run.

    Of a training checkpoint its `state_dict` is taken. Of any other table tensors within tables get the names of these
    before their own, with dots between.

    Args:
        target: default is the same name with .safetensors, beside it.

    Raises:
        SettingsError: the target is there already, or the source is no pickle.
        UnsupportedModel: the source cannot be read weights-only.
        WeightsError: the target cannot be written.
    """
    target = target or source.with_suffix(".safetensors")
    if not source.is_file():
        raise SettingsError(f"{source}: there is no such file")
    if not zipfile.is_zipfile(source):
        raise SettingsError(f"{source}: is not a pickle as torch writes it; .ckpt, .pth, .pt and .pkl are converted")
    if target.exists():
        raise SettingsError(f"{target}: already exists; name another file with -o")
    from safetensors.torch import save_file

    from .diffusion.published import as_safetensors

    # one-step models have a form of their own, with what of the file is needed
    tensors, metadata = as_safetensors(source) if families.one_step_kind(source) else _as_safetensors(source)
    draft = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata=metadata)
        os.replace(draft, target)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        draft.unlink(missing_ok=True)
    return target


def _as_safetensors(source: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and metadata of the file that any other pickle becomes."""
    from .diffusion.states import load_pickle

    content = load_pickle(source, allow_pickle=True)
    if isinstance(content.get("state_dict"), dict):
        content = cast("dict[str, Any]", content["state_dict"])
    tensors, values = {}, {}
    for name, value in _flat(content):
        if hasattr(value, "contiguous"):
            tensors[name] = value.clone().contiguous()  # tensors that share memory cannot be written
        elif _is_plain(value):
            values[name] = value
    if not tensors:
        raise SettingsError(f"{source}: holds no tensors; name a file of weights")
    return tensors, {"format": "pt", **({VALUES: json.dumps(values)} if values else {})}


def _flat(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
