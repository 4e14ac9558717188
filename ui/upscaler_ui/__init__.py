"""The front ends: the app, in the browser or in its own window, and the plugins for ComfyUI and the WebUIs.

They build `Settings`, iterate a run and show its events; nothing of the engine is here.
"""
