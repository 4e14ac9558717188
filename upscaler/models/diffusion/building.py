"""Builds parts of a model from the weights in a file, and says in one line what does not fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch

from ...errors import UnsupportedModel


class Builder:
    """Of one file, that is said to hold a model of some family."""

    def __init__(self, file: Path, family: str) -> None:
        self._file, self._family = file, family

    @contextmanager
    def part(self, what: str) -> Generator[None]:
        """Build that part in the block: shapes that do not fit are said in our words, and diffusers is quiet meanwhile.

        It warns about a change of the number format, which it makes itself.

        Raises:
            UnsupportedModel: weights are missing, or of other shapes.
        """
        log = logging.getLogger("diffusers.models.modeling_utils")
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            yield
        except KeyError as error:  # of diffusers' converters, which take what they need by its name
            self.refuse(what, f"{error.args[0]} is missing")
        except (ValueError, RuntimeError) as error:
            shape = re.search(r"(\S+) expected shape .*?(\[.*?\]).*?got .*?(\[.*?\])", str(error))
            if shape is not None:
                self.refuse(what, f"{shape[1]} is {shape[3]} instead of {shape[2]}")
            if "meta tensor" in str(error):  # diffusers moves what it could not fill
                self.refuse(what, "weights are missing")
            raise
        finally:
            log.setLevel(level)

    def check(self, module: torch.nn.Module, what: str) -> None:
        """Raises: `UnsupportedModel`, where weights of that part are missing."""
        missing = [name for name, weight in module.named_parameters() if weight.is_meta]
        if missing:
            self.refuse(what, f"{missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} missing")

    def refuse(self, what: str, why: str) -> NoReturn:
        """Raises: `UnsupportedModel`."""
        raise UnsupportedModel(
            f"{self._file}: its {what} is not that of {self._family}: {why}; use a plain checkpoint, or the folder in "
            "diffusers format if there is one"
        )
