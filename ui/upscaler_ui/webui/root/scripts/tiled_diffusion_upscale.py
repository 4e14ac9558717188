"""The img2img script; the host takes the classes that it finds here."""

from tiled_diffusion_upscaler.ui.upscaler_ui.webui.script import Script

__all__ = ["Script"]
