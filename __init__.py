"""What ComfyUI sees of this folder when it lies in `custom_nodes/`, be it a clone or a copy by `upscaler install-plugin`.

Nothing is loaded before the host asks for the nodes.
"""

WEB_DIRECTORY = "ui/comfyui/web"  # help pages of the nodes


async def comfy_entrypoint():
    from .ui.comfyui import Upscaler

    return Upscaler()
