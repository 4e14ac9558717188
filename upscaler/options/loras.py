"""How a list of models is written: "style.safetensors:0.8; faces" is two LoRAs, or ControlNets, with their weights."""

from __future__ import annotations

from ..errors import SettingsError

_RANGE = 10.0


def entries(text: str, *, option: str = "diffusion.lora") -> list[tuple[str, float]]:
    """Names or paths with their weights; 1 where there is none.

    Args:
        option: whose value it is, for errors.

    Raises:
        SettingsError: a weight is out of range.
    """
    found: list[tuple[str, float]] = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, colon, number = entry.rpartition(":")
        try:
            weight = float(number) if colon and name else None
        except ValueError:  # the colon of a drive, C:\\style.safetensors
            weight = None
        if weight is not None and not -_RANGE <= weight <= _RANGE:
            raise SettingsError(f"{option}: {entry!r} has a weight outside -10 to 10; give NAME:0.8, for example")
        found.append((entry, 1.0) if weight is None else (name.strip(), weight))
    return found


def names(text: str) -> list[str]:
    """The parts of a list by semicolons."""
    return [part.strip() for part in text.split(";") if part.strip()]
