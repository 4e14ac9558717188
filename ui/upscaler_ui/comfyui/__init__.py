"""ComfyUI nodes. This folder runs only inside a pack, beside a copy of the engine; see `install.py`."""

from comfy_api.latest import ComfyExtension, io

from .nodes import Refine, SeamFix, Upscale
from .tools import SeamScore, TilePlan, WaveletFilter


class Upscaler(ComfyExtension):
    """What the host asks for its nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [Upscale, Refine, TilePlan, SeamFix, WaveletFilter, SeamScore]
