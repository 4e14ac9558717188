"""Prompts as WebUI users type them: weights by brackets, and more than the 75 words that CLIP takes at once.

`(word)` is 1.1 times as strong, `[word]` 1 / 1.1 times, `(word:1.3)` 1.3 times, a backslash before a bracket makes it a character, and BREAK begins a new
chunk. Written here because the kept library for prompts, compel, has another syntax, `(word)1.3`, and another weighting, so
that prompts from a WebUI would be read wrongly; this is what AUTOMATIC1111's wiki says of its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_STRONGER = 1.1
_TOKEN = re.compile(r"\\[\\()\[\]]|[()\[\]]|:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)|\bBREAK\b|[^\\()\[\]:B]+|.", re.DOTALL)


class Piece(NamedTuple):
    """A part of a prompt with one weight; the text `BREAK` with weight -1 begins a new chunk."""

    text: str
    weight: float


BREAK = Piece("BREAK", -1.0)


def pieces(prompt: str) -> list[Piece]:
    """The parts of a prompt with their weights, neighbours of the same weight in one.

    A bracket that is never closed counts to the end, and one that was never opened is a character.

    >>> pieces("a (red:1.3) hill")
    [Piece(text='a ', weight=1.0), Piece(text='red', weight=1.3), Piece(text=' hill', weight=1.0)]
    """
    found: list[list[object]] = []
    round_, square = list[int](), list[int]()

    def scale(start: int, factor: float) -> None:
        for part in found[start:]:
            if part[0] != BREAK.text or part[1] != BREAK.weight:
                part[1] = float(part[1]) * factor  # type: ignore[arg-type]

    for token in _TOKEN.findall(prompt):
        if token == "(":
            round_.append(len(found))
        elif token == "[":
            square.append(len(found))
        elif token.startswith(":") and token.endswith(")") and round_:
            scale(round_.pop(), float(token[1:-1]))
        elif token == ")" and round_:
            scale(round_.pop(), _STRONGER)
        elif token == "]" and square:
            scale(square.pop(), 1 / _STRONGER)
        elif token == "BREAK":
            found.append(list(BREAK))
        else:
            found.append([token[1:] if len(token) == 2 and token[0] == "\\" else token, 1.0])
    for start in round_:
        scale(start, _STRONGER)
    for start in square:
        scale(start, 1 / _STRONGER)
    return _joined(found)


def _joined(found: list[list[object]]) -> list[Piece]:
    joined: list[Piece] = []
    for text, weight in found:
        piece = Piece(str(text), float(weight))  # type: ignore[arg-type]
        if joined and joined[-1].weight == piece.weight != BREAK.weight:
            joined[-1] = Piece(joined[-1].text + piece.text, piece.weight)
        else:
            joined.append(piece)
    return joined or [Piece("", 1.0)]
