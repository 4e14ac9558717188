"""How a prompt is cut into pieces with weights, and lists of LoRAs into names with weights."""

from __future__ import annotations

import pytest

from upscaler.errors import SettingsError
from upscaler.models.diffusion.prompts import BREAK, pieces
from upscaler.options.loras import entries


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1)]),
        ("a hill, at 12:30", [("a hill, at 12:30", 1)]),
        ("a (red:1.3) hill", [("a ", 1), ("red", 1.3), (" hill", 1)]),
        ("a (red) hill", [("a ", 1), ("red", 1.1), (" hill", 1)]),
        ("((red))", [("red", 1.21)]),
        ("[dull]", [("dull", 1 / 1.1)]),
        ("(a [b] c:2)", [("a ", 2), ("b", 2 / 1.1), (" c", 2)]),
        (r"\(not a weight:1.3\)", [("(not a weight:1.3)", 1)]),
        (r"a \[b\] (c\):1.5)", [("a [b] ", 1), ("c)", 1.5)]),
        ("(open", [("open", 1.1)]),
        ("closed) [", [("closed) ", 1)]),
        ("(a: 0.5 )", [("a", 0.5)]),
        ("(a:.5)b", [("a", 0.5), ("b", 1)]),
        ("(a:-1)", [("a", -1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("one BREAK two", [("one ", 1), BREAK, (" two", 1)]),
        ("(one BREAK two:1.2)", [("one ", 1.2), BREAK, (" two", 1.2)]),
        ("BREAKFAST, a BB gun", [("BREAKFAST, a BB gun", 1)]),
        ("a\\", [("a\\", 1)]),
    ],
)
def test_pieces(prompt: str, expected: list[tuple[str, float]]) -> None:
    found = pieces(prompt)
    assert [piece.text for piece in found] == [text for text, _ in expected]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in expected])


def test_lists_of_loras() -> None:
    assert entries("") == []
    assert entries("style.safetensors:0.8; faces ;x:-1") == [("style.safetensors", 0.8), ("faces", 1.0), ("x", -1.0)]
    assert entries(r"C:\models\a.safetensors") == [(r"C:\models\a.safetensors", 1.0)]
    assert entries(r"C:\models\a.safetensors:0.5") == [(r"C:\models\a.safetensors", 0.5)]
    for wrong in ("a:11", "a:nan", "a:inf"):
        with pytest.raises(SettingsError, match=r"diffusion\.lora: .*outside -10 to 10"):
            entries(wrong)
