"""The extension for AUTOMATIC1111's WebUI and for Forge: an img2img script, and an entry of the Extras tab.

The host is seen through its public modules only, and the engine sees the host as an `Upscaler` and a `Refiner`.
`root/` is what the host wants to find in the extension's folder itself; its scripts import this package by the unique
name of the folder that carries it.
"""
