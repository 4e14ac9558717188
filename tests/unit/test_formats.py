"""One list of the formats that results are written in."""

from __future__ import annotations

from typing import get_args

from upscaler.options.settings import Format
from upscaler.pictures.files import FORMATS, SUFFIXES, suffix_of


def test_the_settings_offer_every_format_that_is_written() -> None:
    assert get_args(Format) == ("auto", *FORMATS)


def test_each_suffix_belongs_to_one_format() -> None:
    written = [suffix for format in FORMATS.values() for suffix in format.suffixes]
    assert len(set(written)) == len(written)
    assert set(written) - {".dzi"} < set(SUFFIXES)
    assert suffix_of("auto") == suffix_of("png") == ".png"
