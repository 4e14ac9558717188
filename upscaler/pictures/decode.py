"""From what Pillow (or tifffile) reads to a `Picture`: one explicit rule for each mode."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFile

from ..arrays.store import Store
from ..errors import ImageError
from ..geometry import Size
from . import metadata, xmp
from .picture import Picture, from_rows, from_samples
from .vips import Rows

_HIGH = np.uint16(256)
_MOST_SAMPLES = 16  # of a pixel: colours, opacity, and what programs keep beside them; damaged files ask for thousands
_TURNS: dict[int, tuple[int, bool]] = {1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True)} | {
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
"""Quarter turns to the left, then whether to mirror, for each value of the EXIF tag Orientation."""


def decode(image: Pillow.Image, *, again: Callable[[], ImageFile.ImageFile] | None = None, **rest: Any) -> Picture:
    """The picture in a Pillow image.

    `again` opens the same file once more, which is how 16 bits per sample are read; without it such files give 8.
    `rest` are fields of `Picture` to set.

    Raises:
        ImageError, or whatever Pillow raises for broken data.
    """
    notices = _about_frames(image)
    samples, profile = _wide_samples(image, again), image.info.get("icc_profile") or None
    depth = 8
    if samples is not None:
        depth = 16
    else:
        image.load()
        if image.mode.startswith(("I", "F")):
            samples, depth = _deep_grey(image, notices), 16
        else:
            plain, profile = _plain(image, profile, notices)
            samples = np.asarray(plain)
            samples = samples[..., None] if samples.ndim == 2 else samples
    orientation, fields = _fields(image, profile, samples.shape[2], notices)
    orientation = 1 if image.format == "TIFF" else orientation  # Pillow turns a TIFF while it decodes it
    return from_samples(_turn(samples, orientation), depth=depth, **fields, **rest)


def decode_rows(
    image: ImageFile.ImageFile, rows: Rows, described: ImageFile.ImageFile, *, store: Store, **rest: Any
) -> Picture:
    """The picture of an image whose rows are read one after the other, in arrays of a store; the same as by `decode`.

    `described` is a file that says the same of its picture, and whose pixels may be read to learn it.
    """
    notices = _about_frames(image)
    profile = described.info.get("icc_profile") or None
    orientation, fields = _fields(described, profile, rows.channels, notices)
    turns, mirror = _TURNS.get(orientation, (0, False))
    size = Size(rows.size.height, rows.size.width) if turns % 2 else rows.size

    def seen(array: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(array[:, ::-1] if mirror else array, -turns)

    depth = 8 if rows.bits == 8 else 16
    return from_rows(rows.parts, size, rows.channels, depth=depth, store=store, seen=seen, **fields, **rest)


def _about_frames(image: Pillow.Image) -> list[str]:
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return ["holds several frames or pages; only the first is used"]
    return []


def _fields(
    image: Pillow.Image, profile: bytes | None, channels: int, notices: list[str]
) -> tuple[int, dict[str, Any]]:
    """The orientation, and the fields of a `Picture` that say what came with its pixels."""
    if profile is not None and metadata.profile_space(profile) not in ({"RGB ", "GRAY"} if channels < 3 else {"RGB "}):
        notices.append("its colour profile does not fit its colours and is left out")
        profile = None
    described = metadata.read(image, notices)
    return described.orientation, {
        "icc": profile,
        "exif": described.exif,
        "xmp": described.xmp,
        "iptc": described.iptc,
        "text": described.text,
        "jpeg_quantisation": _tables(image, described.orientation),
        "notices": tuple(notices),
    }


def _tables(image: Pillow.Image, orientation: int) -> tuple[tuple[int, ...], ...] | None:
    """The quantisation tables of a JPEG, turned as its picture is."""
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    if orientation > 4:
        tables = {key: [table[8 * (i % 8) + i // 8] for i in range(64)] for key, table in tables.items()}
    return tuple(tuple(tables[key]) for key in sorted(tables)) or None


def _turn(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The samples the right way up."""
    turns, mirror = _TURNS.get(orientation, (0, False))
    samples = np.rot90(samples, turns)
    return samples[:, ::-1] if mirror else samples


def _plain(image: Pillow.Image, profile: bytes | None, notices: list[str]) -> tuple[Pillow.Image, bytes | None]:
    """An 8-bit image of mode L, LA, RGB or RGBA, and the profile that its colours are in (None for sRGB)."""
    if image.mode in {"CMYK", "LAB"}:
        return _to_srgb(image, profile, notices), None
    clear = "transparency" in image.info
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA" if clear or image.mode == "PA" else "RGB")
        red, green, blue = image.split()[:3]
        if red.tobytes() == green.tobytes() == blue.tobytes():  # a palette of greys
            image = Pillow.merge("LA", (red, image.split()[3])) if image.mode == "RGBA" else red
        return image, profile
    if image.mode in {"1", "L"}:
        return image.convert("LA" if clear else "L"), profile
    if image.mode in {"LA", "La"}:
        return image.convert("LA"), profile
    return image.convert("RGBA" if clear or image.mode in {"RGBA", "RGBa"} else "RGB"), profile


def _to_srgb(image: Pillow.Image, profile: bytes | None, notices: list[str]) -> Pillow.Image:
    """A CMYK or Lab image in sRGB, through its profile if one fits: relative colorimetric, black point compensated."""
    try:
        from PIL import ImageCms

        cms: Any = ImageCms
        if image.mode == "LAB":
            source = cms.createProfile("LAB")
        elif profile is not None and metadata.profile_space(profile) == "CMYK":
            source = cms.ImageCmsProfile(BytesIO(profile))
        else:
            notices.append("CMYK without a colour profile: its colours are a guess")
            return image.convert("RGB")
        srgb = cms.createProfile("sRGB")
        black_point_compensation = 0x2000  # the constant's name differs between versions of Pillow
        converted: Pillow.Image = cms.profileToProfile(
            image,
            source,
            srgb,
            renderingIntent=cms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=black_point_compensation,
        )
    except (ImportError, OSError, ValueError) as error:  # PyCMSError is none of them in old versions
        raise ImageError(f"its {image.mode} colours cannot be converted ({error}); convert it to RGB first") from error
    converted.info = dict(image.info)
    return converted


def _deep_grey(image: Pillow.Image, notices: list[str]) -> NDArray[Any]:
    """Samples of the modes I;16, I and F: integers on a scale of 0 to 65535, floats on a scale of 0 to 1."""
    samples = np.asarray(image)[..., None]
    high = 1.0 if image.mode == "F" else 65535
    if not (samples.min() >= 0 and samples.max() <= high):  # so that NaN counts as outside
        notices.append(f"holds values outside 0 to {high:g}, which are clipped")
    if image.mode == "F":
        return samples
    samples = np.clip(samples, 0, 65535).astype(np.uint16)
    key = image.info.get("transparency")
    if isinstance(key, int):
        samples = np.concatenate([samples, np.where(samples == key, 0, 65535).astype(np.uint16)], axis=2)
    return samples


def _wide_samples(image: Pillow.Image, again: Callable[[], ImageFile.ImageFile] | None) -> NDArray[np.uint16] | None:
    """(H, W, C) samples of a colour file with 16 bits each, None for any other.

    Pillow has no such mode and keeps the high byte of each sample. Told that the byte order is the other one, it keeps
    the low byte; so two passes of its decoder give all 16 bits, whatever the compression.
    """
    raw = raw_mode(image)
    kind, _, order = raw.partition(";16")
    if again is None or not order or kind not in {"LA", "RGB", "RGBA", "RGBX", "RGBa"}:
        return None
    if raw == "LA;16B":  # four bytes a pixel, which pass as they are through RGBA
        both = _read_as(image, "RGBA").astype(np.uint16)
        return both[..., 0::2] * _HIGH + both[..., 1::2]
    straight = kind.replace("a", "A")
    native = "L" if np.little_endian else "B"
    swapped = {"L": "B", "B": "L"}[native if order == "N" else order]
    high = _read_as(image, f"{straight};16{order}").astype(np.uint16)
    samples = high * _HIGH + _read_as(again(), f"{straight};16{swapped}")
    if kind == "RGBa":
        opacity = samples[..., 3:].astype(np.float32)
        colour = samples[..., :3] * (65535 / np.maximum(opacity, 1))
        samples[..., :3] = np.rint(np.minimum(colour, 65535)).astype(np.uint16)
    key = image.info.get("transparency")
    if isinstance(key, tuple) and kind == "RGB":
        opaque = np.any(samples != np.array(key, np.uint16), axis=2, keepdims=True)
        samples = np.concatenate([samples, opaque * np.uint16(65535)], axis=2)
    return samples


def raw_mode(image: Pillow.Image) -> str:
    """How Pillow's decoder is to unpack the file's samples; empty for an image that is no longer lazy."""
    tiles: list[Any] = getattr(image, "tile", None) or []
    if not tiles:
        return ""
    arguments = tiles[0][3]
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return raw if isinstance(raw, str) else ""


def _read_as(image: Pillow.Image, raw: str) -> NDArray[np.uint8]:
    """The file's samples, unpacked as `raw` says."""
    assert isinstance(image, ImageFile.ImageFile)
    tiles: list[Any] = []
    for tile in image.tile:
        codec, box, offset, arguments = cast("Any", tile)
        arguments = raw if isinstance(arguments, str) else (raw, *arguments[1:])
        tiles.append(getattr(type(tile), "_make", tuple)((codec, box, offset, arguments)))
    image.tile = tiles
    return np.asarray(image)


def needs_tifffile(image: Pillow.Image) -> bool:
    """Whether Pillow opens this TIFF and yet misreads it: more than 8 bits, each colour in a plane of its own."""
    tags: Any = getattr(image, "tag_v2", {})
    return tags.get(284, 1) == 2 and max(tags.get(258, (1,))) > 8


def decode_tiff(
    stream: BinaryIO, check_size: Callable[[int, int], None], *, store: Callable[[Size], Store], **rest: Any
) -> Picture:
    """The picture in a TIFF that Pillow cannot read: floats, 32 bits, planes of 16 bits, BigTIFF with an old Pillow.

    `check_size(width, height)` is called before any pixel is read; `store` says where pixels are kept.
    """
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages.first
        check_size(page.imagewidth, page.imagelength)
        kept = store(Size(page.imagewidth, page.imagelength))
        if page.photometric.name not in {"RGB", "MINISBLACK", "MINISWHITE"} or page.imagedepth != 1:
            raise ImageError(f"its colours are of kind {page.photometric.name}; convert it to RGB first")
        if page.samplesperpixel > _MOST_SAMPLES:
            raise ImageError(f"it says to hold {page.samplesperpixel} channels; at most {_MOST_SAMPLES} are read")
        samples = page.asarray()
        if page.planarconfig == 2 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, 2)
        samples = samples[..., None] if samples.ndim == 2 else samples
        if page.photometric.name == "MINISWHITE":
            samples = np.subtract(1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max, samples)
        colours = 3 if page.photometric.name == "RGB" else 1
        opacity = 1 if page.extrasamples and page.extrasamples[0] in {1, 2} else 0
        samples = samples[..., : colours + opacity]
        notices = ["holds several frames or pages; only the first is used"] if len(file.pages) > 1 else []
        if samples.dtype.kind == "f" and not (samples.min() >= 0 and samples.max() <= 1):
            notices.append("holds values outside 0 to 1, which are clipped")
        orientation = page.tags.valueof(274, default=1)
        profile = page.tags.valueof(34675)
        packet = page.tags.valueof(xmp.TIFF_TAG)
        packet = metadata.checked_packet(packet, Size(page.imagewidth, page.imagelength), notices)
    depth = 8 if samples.dtype == np.uint8 else 16
    fields: dict[str, Any] = {"icc": profile, "xmp": packet, "notices": tuple(notices), **rest}
    return from_samples(_turn(samples, orientation), depth=depth, store=kept, **fields)
