"""What went wrong, for the user: the cause and what to do about it, and a report to send."""

from __future__ import annotations

import platform
import re
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from upscaler import __version__
from upscaler.errors import UpscalerError
from upscaler.options.settings import Settings, with_names
from upscaler.options.spec import Option
from upscaler.text import one_line

from ..controls import title
from .form import GROUPS


def on_page(option: Option) -> str:
    """The title of a setting's widget, in quotation marks, and where it is if it is folded away."""
    group = next((group for group, names in GROUPS if option.name in names), None)
    return f'"{title(option)}"' + (f" (Advanced > {group})" if group else "")


def cause_and_remedy(error: BaseException, name: Callable[[Option], str] = on_page) -> tuple[str, str]:
    """One sentence on what went wrong, and one on what to do; without the folders of this machine.

    Args:
        name: how to call a setting; default is what stands on the page.
    """
    if isinstance(error, UpscalerError):
        cause, _, remedy = with_names(scrubbed(str(error)), name).partition("; ")
        return _sentence(cause), _sentence(remedy or "change it and try again")
    if isinstance(error, MemoryError):
        return "There is not enough memory for this picture.", "Choose a smaller size, or close other programs."
    kind = type(error).__name__
    return (
        _sentence(f"an unexpected error occurred ({kind}: {scrubbed(one_line(error))})"),
        "Try again; if it happens again, copy the report below and send it to us.",
    )


def report(error: BaseException, settings: Settings | None) -> str:
    """All that is needed to find a fault: versions, settings and the traceback, without private folders and prompts."""
    versions = [f"upscaler {__version__}", f"Python {platform.python_version()}", platform.platform(terse=True)]
    for package in ("torch", "diffusers", "gradio", "numpy", "pillow"):
        versions.append(f"{package} {metadata.version(package)}")
    lines = [", ".join(versions)]
    if settings is not None:
        lines.append(settings.but(prompt="", negative="").to_json())
    lines.append("".join(traceback.format_exception(error)))
    return scrubbed("\n".join(lines))


def scrubbed(text: str) -> str:
    """The text with each absolute path reduced to its last part."""
    text = text.replace(str(Path.home()), "~")
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:\\|~?/|\\\\)(?:[^\s'\":;,()<>|]+[/\\])+", "", text)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    names_something = re.match(r"(\S+|.*\.\w+): ", text)  # a setting or a file, whose name stays as it is
    start = text[:1] if names_something else text[:1].upper()
    return f"{start}{text[1:]}." if text else ""
