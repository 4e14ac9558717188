"""From a `Picture` to the bytes of each format, strip by strip, so that no second picture of floats is ever held."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import PngImagePlugin, TiffImagePlugin

from ..arrays.types import Samples
from ..geometry import PNG_AS_A_WHOLE, Size
from . import iptc, metadata, vips, xmp
from .iptc import Iptc
from .metadata import Exif
from .picture import Picture, strips_of

_TIFF_ROWS = 64
_WHOLE = {"PNG": PNG_AS_A_WHOLE, "JPEG": 1 << 28}
"""Pixels up to which Pillow writes a file, four bytes of memory for each; larger ones are written from strips."""
_DEFLATE = 4  # level 6 makes PNG files 2 to 5 % smaller and takes 4 times as long (measured on a noisy gradient)
_TYPES = {xmp.TIFF_TAG: 1}  # bytes, where other blocks are undefined
_CLASSIC_TIFF = 0xF0000000  # bytes of samples above which a TIFF gets 64-bit offsets; leaves room for the directories


@dataclass(frozen=True)
class Options:
    """How a picture is written; `upscaler.pictures.files.save` explains each."""

    quality: int
    depth: int
    dither: bool
    icc: bytes | None
    exif: Exif
    xmp: bytes | None
    iptc: Iptc
    texts: dict[str, str]


def pil_image(picture: Picture, *, alpha: bool, dither: bool, grey: bool = True) -> Pillow.Image:
    """The picture as an 8-bit Pillow image of mode L, LA, RGB or RGBA. Memory: the image and one strip.

    Without `alpha` a transparent picture is laid on white; without `grey` a grey one becomes neutral RGB.
    """
    channels = _channels(picture) if grey else 3
    mode = ("L" if channels == 1 else "RGB") + ("A" if alpha else "")
    image = Pillow.new(mode, picture.size)
    for top, samples in strips_of(picture, channels=channels, alpha=alpha, dither=dither):
        image.paste(Pillow.fromarray(samples[..., 0] if mode == "L" else samples), (0, top))
    profile = fitting_profile(picture, channels)
    image.info |= {key: value for key, value in (("icc_profile", profile), ("exif", picture.exif)) if value}
    return image


def fitting_profile(picture: Picture, channels: int) -> bytes | None:
    """The picture's profile if it can describe so many channels: one for grey does not describe RGB."""
    if picture.icc is None or (channels == 3 and metadata.profile_space(picture.icc) == "GRAY"):
        return None
    return picture.icc


def write(picture: Picture, stream: IO[bytes], kind: str, options: Options) -> tuple[str, ...]:
    """Write the picture to an open file as `kind` (PNG, JPEG, WEBP, TIFF or AVIF); returns notices."""
    if kind == "TIFF":
        return _write_tiff(picture, stream, options)
    if kind == "PNG":
        _write_png(picture, stream, options)
        return ()
    notices: list[str] = []
    alpha = picture.alpha is not None and kind != "JPEG"
    if picture.alpha is not None and not alpha:
        notices.append("JPEG has no transparency: the picture was laid on white; write PNG or WebP to keep it")
    grey = kind == "JPEG"
    if kind == "JPEG" and picture.size.width * picture.size.height > _WHOLE["JPEG"]:
        vips.write_jpeg(
            picture,
            stream,
            channels=_channels(picture),
            quality=options.quality,
            dither=options.dither,
            icc=options.icc,
            segments=_segment(0xE1, options.exif.tobytes() or b"") + _segments(options),
        )
        return tuple(notices)
    image = pil_image(picture, alpha=alpha, dither=options.dither, grey=grey)
    image.info.clear()
    profile = options.icc if grey else options.icc and fitting_profile(picture, 3)
    exif = options.exif.tobytes() or b""
    more: dict[str, Any] = {"quality": options.quality}
    if kind == "JPEG":
        more |= {"subsampling": 0 if options.quality >= 90 else 2, "extra": _segments(options)}
    else:
        more["xmp"] = options.xmp or b""
    if kind == "AVIF":
        more["subsampling"] = "4:4:4" if options.quality >= 90 else "4:2:0"
    elif kind == "WEBP" and options.quality == 100:
        more |= {"lossless": True, "exact": True}
    image.save(stream, kind, icc_profile=profile, exif=exif, **more)
    return tuple(notices)


def _segments(options: Options) -> bytes:
    """The segments of a JPEG with XMP and IPTC, for which an old Pillow has no argument."""
    packet = b"" if options.xmp is None else xmp.IN_JPEG + options.xmp
    return _segment(0xE1, packet) + _segment(0xED, iptc.in_jpeg(options.iptc) if options.iptc else b"")


def _segment(kind: int, content: bytes) -> bytes:
    """A segment of a JPEG, none for no content."""
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content if content else b""


def _channels(picture: Picture) -> int:
    """1 for a grey picture, 3 for colour and for grey whose profile is one for RGB, which a grey file may not hold."""
    return 1 if picture.grey and (picture.icc is None or metadata.profile_space(picture.icc) == "GRAY") else 3


def _write_png(picture: Picture, stream: IO[bytes], options: Options) -> None:
    info = PngImagePlugin.PngInfo()
    for key, value in options.texts.items():
        info.add_text(key, value)  # itself picks tEXt or iTXt
    if options.xmp is not None:
        info.add_itxt("XML:com.adobe.xmp", options.xmp.decode("utf-8"))
    exif = options.exif.tobytes()
    alpha = picture.alpha is not None
    if options.depth == 8 and picture.size.width * picture.size.height <= _WHOLE["PNG"]:
        image = pil_image(picture, alpha=alpha, dither=options.dither)
        image.info.clear()
        image.save(stream, "PNG", compress_level=_DEFLATE, pnginfo=info, icc_profile=options.icc, exif=exif or b"")
        return
    chunks = [(chunk[0], chunk[1]) for chunk in info.chunks]
    if options.icc is not None:
        chunks.insert(0, (b"iCCP", b"ICC Profile\0\0" + zlib.compress(options.icc)))
    if exif is not None:
        chunks.append((b"eXIf", exif[6:]))
    channels = _channels(picture)
    strips = strips_of(picture, channels=channels, alpha=alpha, depth=options.depth, dither=options.dither)
    write_png(stream, (samples for _, samples in strips), picture.size, chunks=chunks)


def write_png(
    stream: IO[bytes], strips: Iterable[Samples], size: Size, *, chunks: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Write a PNG from (h, W, 1 to 4) strips of uint8 or uint16 in their order.

    Pillow writes none of 16 bits per sample in colour, and holds a picture of 8 bits as a whole.

    Each row takes the one of the filters Sub, Up and Paeth that leaves least (PNG specification, 9.2 and 12.7).
    """

    def chunk(kind: bytes, data: bytes) -> None:
        stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    pack = zlib.compressobj(_DEFLATE)
    above = None
    for strip in strips:
        if above is None:
            stream.write(b"\x89PNG\r\n\x1a\n")
            colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[strip.shape[2]]
            chunk(b"IHDR", struct.pack(">2I5B", *size, 8 * strip.itemsize, colour_type, 0, 0, 0))
            for kind, data in chunks:
                chunk(kind, data)
            above = np.zeros(strip.shape[1] * strip.shape[2] * strip.itemsize, np.uint8)
        bytes_ = strip.astype(strip.dtype.newbyteorder(">")).view(np.uint8)
        rows: NDArray[np.uint8] = bytes_.reshape(len(strip), -1)
        if data := pack.compress(_filtered(rows, above, pixel=strip.itemsize * strip.shape[2])):
            chunk(b"IDAT", data)
        above = rows[-1]
    chunk(b"IDAT", pack.flush())
    chunk(b"IEND", b"")


def _filtered(rows: NDArray[np.uint8], first_above: NDArray[np.uint8], pixel: int) -> bytes:
    """Rows of bytes, each with its filter's number before it; `pixel` is the number of bytes a pixel takes."""
    above = np.concatenate([first_above[None], rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel:], corner[:, pixel:] = rows[:, :-pixel], above[:, :-pixel]
    a, b, c = left.astype(np.int16), above.astype(np.int16), corner.astype(np.int16)
    da, db, dc = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((da <= db) & (da <= dc), left, np.where(db <= dc, above, corner))
    numbers = np.array([1, 2, 4], np.uint8)
    residuals = np.stack([rows - left, rows - above, rows - paeth])
    best = np.abs(residuals.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64).argmin(axis=0)
    out = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    out[:, 0] = numbers[best]
    out[:, 1:] = residuals[best, np.arange(len(rows))]
    return out.tobytes()


def _write_tiff(picture: Picture, stream: IO[bytes], options: Options) -> tuple[str, ...]:
    """Deflate with horizontal differences, 8 or 16 bits; 64-bit offsets where 32 do not reach."""
    import tifffile

    channels, alpha = _channels(picture), picture.alpha is not None
    width, height = picture.size
    samples = channels + alpha
    big = width * height * samples * options.depth // 8 > _CLASSIC_TIFF
    blocks = {
        xmp.TIFF_TAG: options.xmp,
        iptc.TAG: iptc.tobytes(options.iptc),
        34675: options.icc,
        metadata.USER_COMMENT: options.exif.comment if big else None,
    }
    strips = strips_of(
        picture, channels=channels, alpha=alpha, depth=options.depth, dither=options.dither, rows=_TIFF_ROWS
    )
    with tifffile.TiffWriter(cast("Any", stream), bigtiff=big, byteorder="<") as writer:
        writer.write(
            (_packed(strip) for _, strip in strips),
            shape=(height, width, samples) if samples > 1 else (height, width),
            dtype=np.uint16 if options.depth == 16 else np.uint8,
            photometric="rgb" if channels == 3 else "minisblack",
            planarconfig="contig" if samples > 1 else None,
            extrasamples=["unassalpha"] if alpha else None,
            rowsperstrip=_TIFF_ROWS,
            compression="zlib",
            predictor=2,
            software=False,
            metadata=None,
            extratags=[(tag, _TYPES.get(tag, 7), len(value), value, True) for tag, value in blocks.items() if value],
        )
    if big:
        return ("a TIFF of more than 4 GiB holds no EXIF here: only the settings were kept",)
    _add_exif(stream, options.exif)
    return ()


def _packed(strip: Samples) -> bytes:
    """One strip of a TIFF: the difference to the sample on the left, deflated. TIFF 6.0, section 14."""
    differences = strip.copy()
    differences[:, 1:] -= strip[:, :-1]
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<")).tobytes(), _DEFLATE)


def _add_exif(stream: IO[bytes], exif: Exif) -> None:
    """Give a finished TIFF the EXIF directories that tifffile does not write.

    They go to the end of the file, and after them a new main directory with the entries of both (TIFF 6.0, section 2).
    """
    added = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in exif.directories.items():
        added[tag] = value
    if not len(added):
        return
    place = stream.seek(0, 2)
    place += stream.write(b"\0" * (place % 2))
    block = added.tobytes(place)
    stream.write(block)
    stream.seek(4)
    stream.seek(struct.unpack("<I", stream.read(4))[0])
    count = struct.unpack("<H", stream.read(2))[0]
    entries = _entries(stream.read(12 * count)) | _entries(block[2 : 2 + 12 * struct.unpack_from("<H", block)[0]])
    place = stream.seek(0, 2)
    place += stream.write(b"\0" * (place % 2))
    stream.write(struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4))
    stream.seek(4)
    stream.write(struct.pack("<I", place))


def _entries(block: bytes) -> dict[int, bytes]:
    """The 12-byte entries of a TIFF directory by tag."""
    return {struct.unpack_from("<H", block, i)[0]: block[i : i + 12] for i in range(0, len(block), 12)}
