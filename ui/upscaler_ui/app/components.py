"""Components of our own: an `assets/NAME.html`, `.css` and `.js` each, inside Gradio's HTML component."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).parent / "assets"


def asset(name: str) -> str:
    """The text of a file in `assets`."""
    return (ASSETS / name).read_text("utf-8")


def component(name: str, value: dict[str, Any], **more: Any) -> gr.HTML:
    """The component of that name; its value is a JSON object, its events are those that its script triggers."""
    return gr.HTML(
        value,
        html_template=asset(f"{name}.html"),
        css_template=asset(f"{name}.css"),
        js_on_load=asset(f"{name}.js"),
        elem_classes=name,
        **more,
    )
