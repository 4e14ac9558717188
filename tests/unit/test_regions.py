"""Prompts for parts of a picture, as text."""

from __future__ import annotations

import pytest

from upscaler.errors import SettingsError
from upscaler.options.regions import Region, regions
from upscaler.options.settings import Settings
from upscaler.stages.by_place import without_subject


def test_boxes_and_cells_with_prefix_and_weight() -> None:
    text = """
    # left half
    prefix: a photograph of
    0, 0, 50, 100: a red barn: old; 2,1 of 4x2 x1.5: hills
    """
    assert regions(text) == (
        "a photograph of",
        (Region(0, 0, 0.5, 1, "a red barn: old"), Region(0.25, 0, 0.5, 0.5, "hills", 1.5)),
    )
    assert regions("") == ("", ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("barns.txt", "'barns.txt' is neither a file nor a region; give lines such as"),
        ("0,0,50,100:", "is neither a file nor a region"),
        ("0,0,50: a barn", "'0,0,50' is not a place; give lines such as"),
        ("50,0,50,100: a barn", "is not a box; its numbers are left, top, right and bottom, from 0 to 100"),
        ("0,0,101,100: a barn", "is not a box"),
        ("3,1 of 2x2: a barn", "is not in its grid; cells are counted from 1,1"),
        ("0,0,50,50 x9: a barn", "the weight x9 is out of range; give one above 0, at most 3"),
    ],
)
def test_a_wrong_line_is_refused_with_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=r"diffusion\.tile_prompt: ") as caught:
        Settings.of(tile_prompt=text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [("a barn, oil painting, warm", "oil painting, warm"), ("a barn", ""), ("(a barn, red:1.2), oil", "oil"), ("", "")],
)
def test_the_subject_is_what_stands_before_the_first_comma(prompt: str, rest: str) -> None:
    assert without_subject(prompt) == rest
