"""ComfyUI nodes. This folder runs only inside a pack, beside a copy of the engine; see `ui/install.py`."""

from .nodes import Upscaler

__all__ = ["Upscaler"]
