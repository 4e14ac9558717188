"""Components of our own: an `assets/NAME.html`, `.css` and `.js` each, inside Gradio's HTML component."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).parent / "assets"


def asset(name: str, folder: Path = ASSETS) -> str:
    """The text of a file in `assets`."""
    return (folder / name).read_text("utf-8")


def component(
    name: str, value: dict[str, Any], *, tools: Sequence[str] = (), folder: Path = ASSETS, **more: Any
) -> gr.HTML:
    """The component of that name; its value is a JSON object, its events are those that its script triggers.

    Args:
        tools: scripts that stand before its own, and styles, by their names.
    """
    names = (*tools, name)
    return gr.HTML(
        value,
        html_template=asset(f"{name}.html", folder),
        css_template="\n".join(asset(f"{part}.css", folder) for part in names),
        js_on_load="\n".join(asset(f"{part}.js", folder) for part in names),
        elem_classes=name,
        **more,
    )
