"""XMP, IPTC and content credentials: kept or told of in every format, and never a way in for hostile XML."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import IptcImagePlugin, PngImagePlugin

from upscaler.geometry import Size
from upscaler.pictures import encode, iptc, xmp
from upscaler.pictures.files import load, save

Pillow.init()
EVERY = [
    ".png",
    ".jpg",
    ".webp",
    ".tif",
    pytest.param(".avif", marks=pytest.mark.skipif("AVIF" not in Pillow.SAVE, reason="no AVIF")),
]
EXIFTOOL = shutil.which("exiftool")
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:my="urn:example:my"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dcterms="http://purl.org/dc/terms/" xmlns:gps="urn:example:gps"
  xmp:Rating="4" tiff:Orientation="6" tiff:ImageWidth="12" exif:GPSLatitude="48,51.4N" my:Own="a &amp; b"
  my:GpsLongitude="2.35" gps:Kept="yes" photoshop:City="Paris" dcterms:provenance="https://example.com/manifest">
  <dc:creator><rdf:Seq><rdf:li>Zoë Ångström</rdf:li></rdf:Seq></dc:creator>
  <exif:PixelXDimension>12</exif:PixelXDimension>
  <xmp:Thumbnails><rdf:Alt><rdf:li>/9j/OLDPICTURE</rdf:li></rdf:Alt></xmp:Thumbnails>
 </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()
DATASETS: dict[tuple[int, int], tuple[bytes, ...]] = {
    (1, 90): (b"\x1b%G",),
    (2, 5): ("Die Brücke".encode(),),
    (2, 25): (b"bridge", b"river"),
    (2, 55): (b"20240506",),
    (2, 90): (b"Paris",),
    (2, 116): (b"(c) somebody",),
    (2, 202): (b"OLDPREVIEW",),
}


def with_packet(kind: str, packet: bytes, datasets: dict[Any, Any] | None = None) -> bytes:
    """A small file of that kind with XMP, and IPTC where it holds it."""
    image, stream = Pillow.new("RGB", (12, 8), "teal"), io.BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode("utf-8", "replace"))
        image.save(stream, "PNG", pnginfo=info)
    elif kind == "TIFF":
        blocks = [(700, 1, packet), *([(33723, 7, iptc.tobytes(datasets))] if datasets else [])]
        extra: Any = [(tag, type_, len(value), value, True) for tag, type_, value in blocks]
        tifffile.imwrite(stream, np.asarray(image), photometric="rgb", metadata=None, extratags=extra)
    elif kind == "JPEG":
        content = iptc.in_jpeg(datasets) if datasets else b""
        segment = b"\xff\xed" + struct.pack(">H", len(content) + 2) + content if content else b""
        image.save(stream, "JPEG", xmp=packet, extra=segment)
    else:
        image.save(stream, kind, xmp=packet)
    return stream.getvalue()


def read_back(path: Path) -> str:
    """The packet that Pillow finds in a file, as text."""
    with Pillow.open(path) as image:
        image.load()
        found = image.info["xmp"]
    return found if isinstance(found, str) else found.decode("utf-8")


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_travels_from_every_format_into_every_other(kind: str, suffix: str, tmp_path: Path) -> None:
    source = load(with_packet(kind, PACKET))
    assert source.notices == ()
    large = replace(source, pixels=source.pixels.repeat(2, axis=0).repeat(2, axis=1))
    path = tmp_path / f"a{suffix}"
    assert save(large, path) == ()
    text = read_back(path)
    for kept in (
        'xmp:Rating="4"',
        "Zoë Ångström",
        'my:Own="a &amp; b"',
        "48,51.4N",
        'photoshop:City="Paris"',
        "gps:Kept",
    ):
        assert kept in text, kept
    assert 'tiff:Orientation="1"' in text or "Orientation" not in text
    assert f'tiff:ImageWidth="{large.size.width}"' in text
    assert f"<exif:PixelXDimension>{large.size.width}<" in text
    assert "OLDPICTURE" not in text
    assert "provenance=" not in text
    assert load(path).xmp == text.encode()
    save(load(path), tmp_path / f"b{suffix}")
    assert read_back(tmp_path / f"b{suffix}") == text  # nothing is added, nothing grows


@pytest.mark.parametrize("suffix", EVERY)
def test_the_place_goes_from_xmp_and_iptc_on_request(suffix: str, tmp_path: Path) -> None:
    source = load(with_packet("JPEG", PACKET, DATASETS))
    path = tmp_path / f"a{suffix}"
    save(source, path, gps=False)
    data = path.read_bytes()
    assert not re.search(rb"48,51|2\.35|Paris", data)
    assert b'gps:Kept="yes"' in data
    assert b"(c) somebody" in data
    save(source, path, metadata=False, overwrite=True)
    assert not re.search(rb"somebody|Rating|xpacket", path.read_bytes())


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_iptc_stays_where_it_can_and_becomes_xmp_elsewhere(kind: str, tmp_path: Path) -> None:
    source = load(with_packet(kind, PACKET, DATASETS))
    assert source.iptc == {key: values for key, values in DATASETS.items() if key != (2, 202)}
    for suffix in (".jpg", ".tif"):
        save(source, tmp_path / f"a{suffix}")
        with Pillow.open(tmp_path / f"a{suffix}") as image:
            found: Any = IptcImagePlugin.getiptcinfo(image)
        assert found[2, 5] == "Die Brücke".encode()
        assert found[2, 25] == [b"bridge", b"river"]
        assert (2, 202) not in found
    save(source, tmp_path / "a.png")
    text = read_back(tmp_path / "a.png")
    assert "<photoshop:DateCreated>2024-05-06<" in text
    assert text.count("Paris") == 1  # XMP says so already
    assert re.search("dc:subject><rdf:Bag><rdf:li>bridge</rdf:li><rdf:li>river</rdf:li>", text)
    assert "Die Brücke" in text


@pytest.mark.parametrize("suffix", EVERY)
def test_the_mark_of_ai_only_on_request_and_in_the_words_of_the_iptc(suffix: str, tmp_path: Path) -> None:
    plain = load(with_packet("PNG", PACKET))
    made = PACKET.replace(
        b'xmp:Rating="4"',
        b'xmlns:Iptc4xmpExt="%s" Iptc4xmpExt:DigitalSourceType="%s"' % (xmp.EXT.encode(), xmp.MADE_BY_AI.encode()),
    )
    captured = made.replace(b"/trainedAlgorithmicMedia", b"/digitalCapture")
    for packet, term in ((None, "composite"), (PACKET, "composite"), (captured, "composite"), (made, "trained")):
        path = tmp_path / f"a{suffix}"
        save(replace(plain, xmp=packet), path, mark_ai=True, metadata=packet is not None, overwrite=True)
        types = re.findall(r"digitalsourcetype/(\w+)", read_back(path))
        assert types == [
            {"composite": "compositeWithTrainedAlgorithmicMedia", "trained": "trainedAlgorithmicMedia"}[term]
        ]
    save(plain, path, overwrite=True)
    assert b"digitalsourcetype" not in path.read_bytes()


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "packet",
    [
        BOMB + PACKET.replace(b"a &amp; b", b"&b;"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + PACKET,
        PACKET[:-120],
        b"not xml at all",
        b"<a>" * 5000 + b"</a>" * 5000,
        PACKET.replace(b"?>", b' encoding="nonsense"?>', 1).replace(b"xpacket begin", b'xml version="1.0" begin'),
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
    ],
    ids=["entities", "external", "cut off", "text", "deep", "encoding", "no RDF"],
)
def test_hostile_or_damaged_xmp_costs_the_packet_alone(packet: bytes, tmp_path: Path) -> None:
    source = load(with_packet("JPEG", packet))
    assert sorted(source.size) == [8, 12]
    assert source.xmp is None
    assert any("XMP is left out" in notice and "\n" not in notice for notice in source.notices)
    assert save(source, tmp_path / "a.jpg") == ()
    assert b"xpacket" not in (tmp_path / "a.jpg").read_bytes()


def test_xmp_of_any_length(tmp_path: Path) -> None:
    long = PACKET.replace(b'xmp:Rating="4"', b'xmp:Label="%s"' % (b"x" * 70_000))
    source = load(with_packet("WEBP", long))
    assert save(source, tmp_path / "a.png") == ()
    assert "x" * 70_000 in read_back(tmp_path / "a.png")
    assert save(source, tmp_path / "a.jpg") == ("its XMP does not fit into a JPEG and is left out",)
    endless = load(with_packet("WEBP", PACKET.replace(b"a &amp; b", b"x" * xmp.MAX_XMP)))
    assert endless.xmp is None
    assert "longer than 1024 KiB" in endless.notices[0]


def test_a_panorama_says_its_new_size() -> None:
    pano = PACKET.replace(
        b'xmp:Rating="4"',
        b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="24" GPano:CroppedAreaLeftPixels="6" '
        b'GPano:CroppedAreaImageWidthPixels="12" GPano:ProjectionType="equirectangular"',
    )
    text = (xmp.described(pano, Size(48, 32)) or b"").decode()
    for said in ('FullPanoWidthPixels="96"', 'CroppedAreaLeftPixels="24"', 'CroppedAreaImageWidthPixels="48"'):
        assert said in text


def test_damaged_iptc_costs_itself_alone() -> None:
    content = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", 8) + b"\x1c\x63\x63\x7f\xff\xff\xff\xff"
    stream = io.BytesIO()
    segment = b"\xff\xed" + struct.pack(">H", len(content) + 2) + content
    Pillow.new("RGB", (12, 8)).save(stream, "JPEG", extra=segment)
    picture = load(stream.getvalue())
    assert picture.iptc == {}
    assert picture.notices == ("its IPTC block is damaged or too long and is left out",)


def credentials(kind: str) -> bytes:
    """A small file of that kind with a manifest store that is none but stands where one would."""
    store = (
        struct.pack(">I4sI4s", 60, b"jumb", 44, b"jumd") + b"c2pa" + b"\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0"
    )
    image, stream = Pillow.new("RGB", (12, 8), "teal"), io.BytesIO()
    if kind == "JPEG":
        content = b"JP" + struct.pack(">HI", 1, 1) + store
        image.save(stream, "JPEG", extra=b"\xff\xeb" + struct.pack(">H", len(content) + 2) + content)
        return stream.getvalue()
    if kind == "TIFF":
        array: Any = np.asarray(image)
        tifffile.imwrite(
            stream, array, photometric="rgb", metadata=None, extratags=[(0xCD41, 7, len(store), store, True)]
        )
        return stream.getvalue()
    image.save(stream, kind)
    data = stream.getvalue()
    if kind == "PNG":
        chunk = struct.pack(">I", len(store)) + b"caBX" + store + struct.pack(">I", zlib.crc32(b"caBX" + store))
        return data[:33] + chunk + data[33:]
    if kind == "WEBP":
        data += b"C2PA" + struct.pack("<I", len(store)) + store + b"\0" * (len(store) % 2)
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return (
        data + struct.pack(">I4s", 24 + len(store), b"uuid") + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + store
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=EVERY[-1].marks)])  # type: ignore[union-attr]
def test_content_credentials_are_told_of_once_and_not_carried_on(kind: str, tmp_path: Path) -> None:
    source = load(credentials(kind))
    assert [notice for notice in source.notices if "C2PA" in notice] == list(source.notices)
    assert len(source.notices) == 1
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        save(source, tmp_path / f"a{suffix}", settings_json=json.dumps({}))
        assert b"c2pa" not in (tmp_path / f"a{suffix}").read_bytes().lower()
        assert load(tmp_path / f"a{suffix}").notices == ()


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is another program that reads it")
@pytest.mark.parametrize("suffix", EVERY)
def test_exiftool_reads_what_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save(load(with_packet("JPEG", PACKET, DATASETS)), path, mark_ai=True, settings_json=json.dumps({"scale": 4}))
    done = subprocess.run([str(EXIFTOOL), "-j", "-G", "-a", str(path)], capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout)
    assert found["XMP:Rating"] == 4
    assert found["XMP:Creator"] == "Zoë Ångström"
    assert found["XMP:DigitalSourceType"] == "Composite With Trained Algorithmic Media" or (
        found["XMP:DigitalSourceType"] == xmp.EDITED_BY_AI
    )
    keywords = "IPTC:Keywords" if suffix in (".jpg", ".tif") else "XMP:Subject"
    assert found[keywords] == ["bridge", "river"]
    assert not [key for key in found if key.endswith((":Warning", ":Error"))]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_large_and_deep_pictures_carry_the_same(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if suffix == ".jpg":
        pytest.importorskip("pyvips")
    source = load(with_packet("JPEG", PACKET, DATASETS))
    monkeypatch.setattr(encode, "_WHOLE", {"PNG": 1, "JPEG": 1})  # from where on files are written from rows
    monkeypatch.setattr(encode, "_CLASSIC_TIFF", 1)
    save(source, tmp_path / f"a{suffix}", bit_depth=8 if suffix == ".jpg" else 16, settings_json="{}")
    again = load(tmp_path / f"a{suffix}")
    assert again.xmp is not None
    assert "Zoë Ångström" in again.xmp.decode()
    if suffix == ".jpg":
        assert again.iptc[2, 25] == (b"bridge", b"river")
