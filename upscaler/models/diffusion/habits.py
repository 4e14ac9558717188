"""How models of super-resolution in one evaluation are used; known without torch, for plans."""

from __future__ import annotations

from ...options.settings import Sampling
from ...weights import OneStep
from ..base import Habits

_DEFAULTS = {
    "gan": "none",
    "strength": 1.0,
    "steps": 1,
    "guidance": 1.0,
    "overlap": 128,  # a tile's own view of what it shows is all that there is: no later step lets neighbours agree
    "feather": 64,
    "seams": "none",  # a joint redrawn would be restored twice
}
_IGNORES = ("steps", "guidance", "negative", "scheduler", "seed")


def _once(sampling: Sampling) -> int:
    return 1


def pisa_evaluations(sampling: Sampling) -> int:
    """One where both parts of its change act alike, else one with both and one with the first alone."""
    return 1 if sampling.strength == sampling.control_scale else 2


ONE_STEP: dict[OneStep, Habits] = {
    "pisa-sr": Habits(first_stage="bicubic", defaults=_DEFAULTS, ignores=_IGNORES, evaluations=pisa_evaluations),
    "osediff": Habits(
        first_stage="bicubic", defaults=_DEFAULTS, ignores=(*_IGNORES, "control_scale"), evaluations=_once
    ),
}
"""Their first stage is a plain bicubic enlargement, which they were trained on."""
