"""The entry of the Extras tab; the host takes the classes that it finds here."""

from tiled_diffusion_upscaler.ui.upscaler_ui.webui.extras import Enlarge

__all__ = ["Enlarge"]
