"""What ComfyUI sees of this folder when it lies in `custom_nodes/`, be it a clone or a copy by `upscaler install-plugin`.

Nothing is loaded before the host asks for the nodes.
"""

WEB_DIRECTORY = "ui/upscaler_ui/comfyui/web"  # help pages of the nodes


async def comfy_entrypoint():
    try:
        from .ui.upscaler_ui.comfyui import Upscaler
    except ModuleNotFoundError as error:
        needed = f"{__path__[0]}/requirements.txt"
        raise ImportError(f"{error}; install what the nodes need: python -m pip install -r {needed}") from error
    return Upscaler()
