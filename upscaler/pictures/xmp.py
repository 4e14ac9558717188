"""XMP: what is kept of a source's packet, and what is added to it. ISO 16684-1.

A packet is XML from anywhere: it is read by defusedxml, which refuses document types and with them entities and bombs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union
from xml.dom import XMLNS_NAMESPACE
from xml.sax.saxutils import escape

from PIL import Image as Pillow

from ..geometry import Size

MAX_XMP = 1 << 20
"""Bytes above which a packet is left out."""

TIFF_TAG = 700
"""The tag of a TIFF with a packet. XMP specification, part 3, 1.1.10."""

IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
"""What the segment of a JPEG with XMP begins with. XMP specification, part 3, 1.1.3."""

TIFF, EXIF, XMP = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
NOTE, TERMS = "http://ns.adobe.com/xmp/note/", "http://purl.org/dc/terms/"
DC, PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
CORE, EXT = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF, _PANO = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://ns.google.com/photos/1.0/panorama/"
_PREFIXES = {DC: "dc", PHOTOSHOP: "photoshop", CORE: "Iptc4xmpCore", EXT: "Iptc4xmpExt"}

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
EDITED_BY_AI = f"{SOURCE_TYPE}compositeWithTrainedAlgorithmicMedia"
MADE_BY_AI = f"{SOURCE_TYPE}trainedAlgorithmicMedia"
"""What the IPTC calls a picture that a trained model has changed, and one that it has made from nothing."""

Name = tuple[str, str]
"""Namespace and local name of a property."""
Value = Union[str, Mapping[str, Sequence[str]]]
"""Of a property: text, or the items of an rdf:Alt, Bag or Seq by this word."""

_NO_LONGER_TRUE = {
    *((TIFF, name) for name in ("BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel")),
    *((TIFF, name) for name in ("PlanarConfiguration", "YCbCrSubSampling", "YCbCrPositioning")),
    (XMP, "Thumbnails"),
    (NOTE, "HasExtendedXMP"),  # more of it in other segments of a JPEG, which is left out
    (TERMS, "provenance"),  # where content credentials of the source are
}
_PLACE = {
    *((PHOTOSHOP, name) for name in ("City", "State", "Country")),
    *((CORE, name) for name in ("Location", "CountryCode")),
    *((EXT, name) for name in ("LocationCreated", "LocationShown")),
}
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def packet_in(image: Pillow.Image) -> bytes | None:
    """The packet of a file that Pillow has read, as it stands there."""
    for name, content in getattr(image, "applist", ()):  # an old Pillow has it nowhere else
        if name == "APP1" and content.startswith(IN_JPEG):
            return bytes(content[len(IN_JPEG) :])
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found if isinstance(found, bytes) else None


def described(
    packet: bytes | None, size: Size, *, place: bool = True, more: Mapping[Name, Value] | None = None, ai: bool = False
) -> bytes | None:
    """A packet for a picture of another size; None where there is nothing to say.

    What only the source's pixels made true is left out or brought up to date: orientation and sizes, thumbnails, where
    its content credentials are.

    Args:
        packet: of the source.
        place: whether it says where the picture was taken.
        more: properties to add where the packet lacks them.
        ai: say that a trained model has changed the picture, unless it says that one has made it.

    Raises:
        ValueError: the packet is damaged, refused for a document type, or nested too deeply.
    """
    document = _parse(packet or _EMPTY)
    try:
        rdf = next(iter(document.getElementsByTagNameNS(_RDF, "RDF")), None)
        if rdf is None:
            raise ValueError("it holds no RDF")
        _bring_up_to_date(rdf, size, place=place)
        present = {(node.namespaceURI, node.localName): _text(node) for node in _properties(rdf)}
        added = {name: value for name, value in (more or {}).items() if name not in present}
        if ai and present.get((EXT, "DigitalSourceType")) != MADE_BY_AI:
            _drop(rdf, {(EXT, "DigitalSourceType")})
            added[EXT, "DigitalSourceType"] = EDITED_BY_AI
        if added:
            rdf.appendChild(document.importNode(_description(added, _about(rdf)), True))
        elif packet is None:
            return None
        text = document.documentElement.toxml()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{begin}\n{text}\n<?xpacket end="w"?>'.encode("utf-8", "replace")


_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'.encode()


def _parse(packet: bytes) -> Any:
    """The document in a packet. Raises: ValueError."""
    from xml.parsers.expat import ExpatError

    from defusedxml import minidom

    parse: Any = minidom.parseString  # its stubs take text alone
    try:
        return parse(packet.strip(b"\0 \t\r\n"), forbid_dtd=True)
    except (ExpatError, LookupError) as error:  # defusedxml's own are ValueErrors
        raise ValueError(f"it is no XML ({error})") from None


def _properties(rdf: Any) -> Iterator[Any]:
    """Every property in it, at any depth: elements, and attributes, which are short for elements with a text."""
    for element in rdf.getElementsByTagName("*"):
        attributes = (element.attributes.item(index) for index in range(element.attributes.length))
        yield from (attribute for attribute in attributes if attribute.namespaceURI != XMLNS_NAMESPACE)
        yield element


def _bring_up_to_date(rdf: Any, size: Size, *, place: bool) -> None:
    drop = _NO_LONGER_TRUE if place else _NO_LONGER_TRUE | _PLACE
    _drop(rdf, drop, place=place)
    true = {
        (TIFF, "Orientation"): "1",
        (TIFF, "ImageWidth"): str(size.width),
        (TIFF, "ImageLength"): str(size.height),
        (EXIF, "PixelXDimension"): str(size.width),
        (EXIF, "PixelYDimension"): str(size.height),
    }
    properties = list(_properties(rdf))
    texts = {(node.namespaceURI, node.localName): _text(node) for node in properties}
    true |= _panorama(texts, size)
    for node in properties:
        value = true.get((node.namespaceURI, node.localName))
        if value is not None and (node.nodeType == node.ATTRIBUTE_NODE or _is_plain(node)):
            _set_text(node, value)


def _panorama(texts: Mapping[Name, str], size: Size) -> dict[Name, str]:
    """Where the picture lies in its panorama, in its new pixels. Google's Photo Sphere XMP."""
    changed: dict[Name, str] = {}
    for side, names in (
        (size.width, ("CroppedAreaImageWidthPixels", "FullPanoWidthPixels", "CroppedAreaLeftPixels")),
        (size.height, ("CroppedAreaImageHeightPixels", "FullPanoHeightPixels", "CroppedAreaTopPixels")),
    ):
        values = [texts.get((_PANO, name), "") for name in names]
        if all(re.fullmatch(r"\d{1,7}", value) for value in values) and int(values[0]):
            scaled = (round(int(value) * side / int(values[0])) for value in values)
            changed |= {(_PANO, name): str(value) for name, value in zip(names, scaled)}
    return changed


def _drop(rdf: Any, names: set[Name], *, place: bool = True) -> None:
    """Remove properties; without the place also all coordinates, whosever they are."""
    for node in list(_properties(rdf)):
        name = (node.namespaceURI or "", node.localName or "")
        if name in names or not (place or not name[1].lower().startswith("gps")):
            if node.nodeType == node.ATTRIBUTE_NODE:
                node.ownerElement.removeAttributeNode(node)
            elif node.parentNode is not None:
                node.parentNode.removeChild(node)


def _about(rdf: Any) -> str:
    """What the properties are about: the same for all of a packet, mostly nothing."""
    return next((e.getAttributeNS(_RDF, "about") for e in rdf.getElementsByTagNameNS(_RDF, "Description")), "")


def _description(values: Mapping[Name, Value], about: str) -> Any:
    """An rdf:Description with the properties."""
    spaces = "".join(f' xmlns:{prefix}="{space}"' for space, prefix in _PREFIXES.items())
    about = escape(about, {'"': "&quot;"})
    content = "".join(_element(f"{_PREFIXES[space]}:{name}", value) for (space, name), value in values.items())
    text = f'<rdf:Description xmlns:rdf="{_RDF}"{spaces} rdf:about="{about}">{content}</rdf:Description>'
    return _parse(text.encode()).documentElement


def _element(name: str, value: Value) -> str:
    if isinstance(value, str):
        return f"<{name}>{_escaped(value)}</{name}>"
    ((kind, items),) = value.items()
    language = ' xml:lang="x-default"' if kind == "Alt" else ""
    listed = "".join(f"<rdf:li{language}>{_escaped(item)}</rdf:li>" for item in items)
    return f"<{name}><rdf:{kind}>{listed}</rdf:{kind}></{name}>"


def _escaped(text: str) -> str:
    return escape(_NOT_IN_XML.sub("", text))


def _is_plain(element: Any) -> bool:
    return not element.getElementsByTagName("*")


def _text(node: Any) -> str:
    """Of an attribute, or directly in an element."""
    return "".join(child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE).strip()


def _set_text(node: Any, value: str) -> None:
    if node.nodeType == node.ATTRIBUTE_NODE:
        node.value = value
        return
    while node.firstChild is not None:
        node.removeChild(node.firstChild)
    node.appendChild(node.ownerDocument.createTextNode(value))
