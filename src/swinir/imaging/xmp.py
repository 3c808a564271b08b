"""XMP packets, changed where they would lie about the new picture; everything else stays byte for byte."""

import re

_DESCRIPTION_END = b"</rdf:RDF>"
_ATTRIBUTE = rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')"
_EXTENDED_CLAIM = re.compile(rb"\s+xmpNote:HasExtendedXMP" + _ATTRIBUTE)
_EXTENDED_GUID = re.compile(rb"xmpNote:HasExtendedXMP\s*(?:=\s*[\"']|>\s*)([0-9A-Fa-f]{32})")
_EXTENDED_ELEMENT = re.compile(rb"<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>")
_RDF = re.compile(rb"<rdf:RDF[^>]*>(.*)</rdf:RDF>", re.DOTALL)
_GAIN_MAP = (
    re.compile(rb"<Container:Directory\b.*?</Container:Directory>", re.DOTALL),
    re.compile(rb"<(hdrgm:\w+)\b[^>]*?(?:/>|>.*?</\1>)", re.DOTALL),
    re.compile(rb"\s+hdrgm:\w+" + _ATTRIBUTE),
    re.compile(rb"\s+xmlns:(?:hdrgm|Container|Item)" + _ATTRIBUTE),
)
_MOTION = re.compile(rb"(\b(?:GCamera|Camera):(?:MotionPhoto|MicroVideo))(\s*=\s*[\"'])1")


def upright_xmp(xmp: bytes) -> bytes:
    """Set tiff:Orientation, written as an attribute or as an element, to 1."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[2-8]", rb"\g<1>1", xmp)


def with_size(xmp: bytes, width: int, height: int) -> bytes:
    """Correct what the packet says of the size, where it says anything."""
    for names, side in (
        (rb"exif:PixelXDimension|tiff:ImageWidth", width),
        (rb"exif:PixelYDimension|tiff:ImageLength", height),
    ):
        pattern = rb"((?:" + names + rb")(?:\s*=\s*[\"']|\s*>)\s*)\d+"
        xmp = re.sub(pattern, rb"\g<1>" + str(side).encode(), xmp)
    return xmp


def joined_xmp(main: bytes | None, extended: dict[bytes, bytes]) -> bytes | None:
    """Put what a JPEG file keeps in extended packets into its first one, which names them.

    Args:
        main: the first packet.
        extended: other packets by their names; those that the first one does not name are left out.
    """
    if main is None:
        return None
    guid = _EXTENDED_GUID.search(main)
    if guid is None:
        return main
    bare = _EXTENDED_ELEMENT.sub(b"", _EXTENDED_CLAIM.sub(b"", main))
    rest = _RDF.search(extended.get(guid[1], b""))
    place = bare.rfind(_DESCRIPTION_END)
    if rest is None or place < 0:
        return bare
    return bare[:place] + rest[1] + bare[place:]


def claims_gain_map(xmp: bytes) -> bool:
    """Whether the packet says that an HDR gain map follows the picture."""
    return b"hdrgm:" in xmp


def without_gain_map(xmp: bytes) -> bytes:
    """Take out every claim of a gain map: Ultra HDR Image Format 1.1, sections on XMP."""
    for claim in _GAIN_MAP:
        xmp = claim.sub(b"", xmp)
    return xmp


def claims_motion(xmp: bytes) -> bool:
    """Whether the packet says that a film follows the picture."""
    return _MOTION.search(xmp) is not None


def without_motion(xmp: bytes) -> bytes:
    """Say that no film follows."""
    return _MOTION.sub(rb"\g<1>\g<2>0", xmp)
