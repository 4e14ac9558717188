"""What is on the page: every widget, by name. What happens when they are used is in `handlers`."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block

from upscaler.pictures.files import SUFFIXES

from . import library
from .components import component
from .form import WHOLE_FILES, Form
from .looks import names_of_own

_ANOTHER = "Other format…"
TICK, SLOW_TICK = 0.4, 2.0
"""Seconds between two looks at the jobs, and while they are paused."""


class Layout:
    """The widgets: the form and progress on the left; pictures, queue and history on the right."""

    def __init__(self, *, one_user: bool) -> None:
        """
        Args:
            one_user: whether all that is done here is done for one user, who may keep presets and pause the work.
        """
        self.form = Form()
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=330, elem_id="left"):
                self._left(one_user)
            with gr.Column(scale=8, min_width=330, elem_id="right"):
                self._right()
        with gr.Column(elem_id="models-page"):
            self._models(one_user)
        self.timer = gr.Timer(TICK, active=False)

    def _left(self, one_user: bool) -> None:
        with gr.Row(elem_id="title"):
            gr.HTML("<h1>upscaler</h1>")
            self.models_open = gr.Button("Models", size="sm", elem_id="models-open", min_width=80, scale=0)
        self.choice()
        self.facts = gr.HTML("", elem_id="facts")
        gr.HTML("<h2>Look</h2>")
        self.form.look()
        gr.HTML("<h2>Size</h2>")
        self.form.size()
        self.plan = gr.HTML("", elem_id="plan")
        with gr.Column(scale=0, elem_id="go"):
            self.status = gr.HTML("", elem_id="status")
            with gr.Row():
                self.run = gr.Button("Upscale", variant="primary", elem_id="run", scale=3, min_width=110)
                self.pause = gr.Button(
                    "Pause", elem_id="pause", interactive=False, visible=one_user, scale=1, min_width=84
                )
                self.stop = gr.Button("Stop", variant="stop", elem_id="stop", interactive=False, scale=1, min_width=70)
        with gr.Accordion("Advanced", open=False, elem_id="advanced"):
            self.form.advanced()
            with gr.Accordion("My presets", open=False, visible=one_user):
                self._presets()

    def choice(self) -> None:
        """Where pictures are chosen."""
        self.files = gr.File(
            file_count="multiple",
            file_types=list(SUFFIXES),
            type="filepath",
            label="Pictures",
            show_label=False,
            height=104,
            elem_id="input",
        )
        with gr.Row(elem_id="more-input"):
            self.folder = gr.UploadButton("Choose a folder", file_count="directory", size="sm", elem_id="folder")
            self.paste = gr.UploadButton("Paste", visible="hidden", file_types=["image"], elem_id="paste")

    def _presets(self) -> None:
        with gr.Row(elem_classes="ends"):
            self.preset_name = gr.Textbox(label="Name", placeholder="my-preset", min_width=120, elem_id="preset-name")
            self.preset_save = gr.Button("Save as preset", size="sm", min_width=100, elem_id="preset-save")
        with gr.Row(elem_classes="ends"):
            self.preset_own = gr.Dropdown(
                names_of_own(), label="Saved", value=None, min_width=120, elem_id="preset-own"
            )
            self.preset_export = gr.DownloadButton(
                "Export", size="sm", min_width=70, elem_id="preset-export", interactive=False
            )
            self.preset_delete = gr.Button("Delete", size="sm", min_width=70, elem_id="preset-delete")
        self.preset_import = gr.UploadButton(
            "Import a preset", file_types=[".json"], size="sm", elem_id="preset-import"
        )

    def _right(self) -> None:
        self.viewer = component("viewer", {}, tools=("brush",), elem_id="viewer")
        with gr.Row(elem_id="tools"):
            self.preview = gr.Button(
                "Preview the centre", size="sm", interactive=False, elem_id="preview", min_width=250, scale=0
            )
            self.compare = gr.Button(
                "Compare looks", size="sm", interactive=False, elem_id="compare", min_width=130, scale=0
            )
        self.sheet = component("sheet", {"items": []}, elem_id="sheet")
        with gr.Column(visible=False, elem_id="error") as self.error:
            self.message = gr.HTML("", elem_id="message")
            with gr.Accordion("Report", open=False):
                self.report = gr.Textbox(
                    label="Report",
                    show_label=False,
                    lines=6,
                    max_lines=12,
                    buttons=["copy"],
                    interactive=False,
                    elem_id="report",
                )
        self.outcome()
        gr.HTML("<h2>Results</h2>")
        self.queue = component("strip", {"items": []}, elem_id="queue")
        self.archive = gr.DownloadButton("Save", visible=False, size="sm", elem_id="archive")
        self.history = component("strip", {"items": []}, elem_id="history")

    def _models(self, with_files: bool) -> None:
        """The page of models, which is shown in place of all else."""
        with gr.Row(elem_id="models-head"):
            gr.HTML("<h2>Models</h2>")
            self.models_close = gr.Button(
                "Back to the picture", size="sm", elem_id="models-close", min_width=150, scale=0
            )
        with gr.Row(elem_id="models-add", visible=with_files):
            self.add_model = gr.UploadButton(
                "Add a model file…",
                file_types=list(library.SUFFIXES),
                size="sm",
                elem_id="add-model",
                min_width=160,
                scale=0,
            )
            self.added = gr.HTML("", elem_id="added")
        self.models = component("models", {}, elem_id="models")

    def outcome(self) -> None:
        """What can be done with the result on show."""
        with gr.Row(visible=False, elem_id="result", equal_height=True) as self.result:
            self.download = gr.DownloadButton("Download", variant="primary", elem_id="download", scale=2)
            self.convert = gr.Dropdown(
                [(_ANOTHER, ""), *WHOLE_FILES],
                value="",
                label="Another format",
                show_label=False,
                container=False,
                min_width=150,
                scale=1,
                elem_id="other",
            )

    @property
    def own(self) -> list[Any]:
        """Every component of the page but the fields of the form."""
        return [*(value for value in vars(self).values() if isinstance(value, Block)), *self.form.told]

    @property
    def everything(self) -> list[Any]:
        """Every component that a handler may change."""
        return list(dict.fromkeys([*self.own, *self.form.shown]))
