"""The entry of the Extras tab: enlarged and true to the input, without a diffusion pass."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts_postprocessing

from ....upscaler import load, pipeline, to_pil
from ....upscaler.errors import Cancelled
from ....upscaler.events import Finished
from ....upscaler.options.settings import Settings
from . import form, networks


class Enlarge(scripts_postprocessing.ScriptPostprocessing):
    """Runs on every picture of the Extras tab once it is switched on."""

    name = "Enlarge, true to the input"
    order = 1010  # after the host's own upscalers, in case both are on

    def ui(self) -> dict[str, Any]:
        """Widgets by argument name of `process`."""
        self.networks = networks.names()
        with gr.Accordion(self.name, open=False):
            widgets = {"enable": gr.Checkbox(label="Enable", value=False, elem_id="extras_tiled_enable")}
            for option in form.extras_options():
                widgets[option.name] = form.widget(option, self.networks, elem_id=f"extras_tiled_{option.name}")
        return widgets

    def process(self, pp: Any, enable: bool | None = None, **values: Any) -> None:
        """Enlarge `pp.image`; an interrupted picture stays as it was.

        Raises:
            UpscalerError: in one line.
        """
        if not enable:
            return
        chosen = form.extras_options()
        given = form.read(chosen, [values.get(option.name) for option in chosen], self.networks)
        settings = Settings.of(**given)
        picture = load(pp.image, max_pixels=None)
        try:
            upscaler = networks.load(settings.gan.model)
            for event in pipeline.run(picture, settings, upscaler=upscaler, refiner=None, inline=True):
                if isinstance(event, Finished):
                    pp.image = to_pil(event.picture)
                    pp.info.update(form.to_infotext(chosen, settings))
        except Cancelled:
            pass
