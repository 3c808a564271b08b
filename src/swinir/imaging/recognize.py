"""What a file is, by its bytes."""

from swinir.imaging.formats import (
    AVIF,
    BMP,
    CUR,
    DDS,
    GIF,
    HEIC,
    ICNS,
    ICO,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    PCX,
    PNG,
    PPM,
    PSD,
    QOI,
    SGI,
    SUN,
    TGA,
    TIFF,
    WEBP,
    XBM,
    XPM,
    ForeignFormat,
    Format,
)

# The first bytes of each; DDS, ICO and others have a number or a zero behind.
_SIGNATURES: tuple[tuple[bytes, Format | ForeignFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"8BPS\0\1", PSD),
    (b"DDS ", DDS),
    (b"\0\0\1\0", ICO),
    (b"\0\0\2\0", CUR),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\xff\x0a", JPEG_XL),
    (b"qoif", QOI),
    (b"\x01\xda", SGI),
    (b"\x59\xa6\x6a\x95", SUN),
    (b"icns", ICNS),
    (b"/* XPM */", XPM),
    (b"#define ", XBM),
    *((b"\x0a" + bytes([version, 1]), PCX) for version in (0, 2, 3, 4, 5)),
    *(
        (b"P" + kind + space, PPM)
        for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"f", b"F")
        for space in (b"\n", b" ", b"\t", b"\r")
    ),
)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_HEIF_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf")
# Files that hold pictures, or are taken for some, and are not read; what to do with them instead.
_KNOWN_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"v/1\x01", "an OpenEXR file, which is not read here: convert it to TIFF"),
    (b"#?RADIANCE", "a Radiance HDR file, which is not read here: convert it to TIFF"),
    (b"#?RGBE", "a Radiance HDR file, which is not read here: convert it to TIFF"),
    (b"%PDF", "a PDF document: export its pages as images"),
    (b"%!PS", "a PostScript document: export its pages as images"),
    (b"gimp xcf", "a GIMP project: export it as PNG or TIFF"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file: develop it first"),
    (b"IIRO", "a camera's raw file: develop it first"),
    (b"IIU\0", "a camera's raw file: develop it first"),
    (b"PK\x03\x04", "an archive: unpack it first"),
    (b"8BPS\0\2", "a PSB file, a Photoshop document for very large pictures: save it as TIFF"),
    (b"BPG\xfb", "a BPG file, which is not read here: convert it to PNG"),
    (b"SIMPLE  =", "a FITS file, which is not read here: convert it to TIFF"),
)
# Of films that are no ISO media file: Matroska and WebM, MPEG program streams, FLV, Windows Media, NUT, Ogg, Y4M.
_FILM_SIGNATURES = (
    b"\x1a\x45\xdf\xa3",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"nut/multimedia container",
    b"OggS",
    b"YUV4MPEG2",
)
# Boxes that a QuickTime film of the time before "ftyp" begins with.
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip")
_NO_FILM_BRANDS = (b"crx ", b"jp2 ", b"jpx ", b"jxl ")
_TS_SYNC = 0x47
# Of packets of MPEG transport streams: where the first begins, and their size; M2TS has a time before each.
_TS_PACKETS = ((0, 188), (4, 192))
_TGA_FOOTER = b"TRUEVISION-XFILE"


def format_of_content(start: bytes, tail: bytes = b"", suffix: str = "") -> Format | ForeignFormat | None:
    """Recognise a file by its bytes, whatever it is called.

    Args:
        start: its first bytes, 4,096 or all.
        tail: its last bytes.
        suffix: of its name, which counts for TGA alone, because most TGA files have nothing of their own.
    """
    for signature, known in _SIGNATURES:
        if start.startswith(signature) and _is_sound(known, start):
            return known
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WEBP
    if start[4:8] == b"ftyp":
        return _heif_format(start)
    is_tga = _TGA_FOOTER in tail or (suffix.lower() in TGA.suffixes and _looks_like_tga(start))
    return TGA if is_tga else None


def describe_other(start: bytes) -> str | None:
    """Say what a file is that is not read, and what to do with it; None if it is not known."""
    for signature, description in _KNOWN_OTHERS:
        if start.startswith(signature):
            return description
    if start[4:12] == b"ftypcrx ":
        return "a camera's raw file: develop it first"
    if is_film(start):
        return "a film"
    words = start[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if words.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"<svg" in start.lower():
        return "a drawing (SVG), which has no pixels: export it as PNG"
    return None


def is_film(start: bytes) -> bool:
    """Tell whether a file is a film, by its first bytes."""
    if start[4:8] == b"ftyp":
        return _heif_format(start) is None and start[8:12] not in _NO_FILM_BRANDS
    if start[:4] == b"RIFF":
        return start[8:12] == b"AVI "
    if start[4:8] in _QUICKTIME_BOXES or start.startswith(_FILM_SIGNATURES):
        return True
    return any(_is_transport_stream(start[first:], size) for first, size in _TS_PACKETS)


def _is_transport_stream(start: bytes, size: int) -> bool:
    """Whether each packet begins with the byte that it must."""
    return len(start) > 4 * size and all(byte == _TS_SYNC for byte in start[::size])


def _heif_format(start: bytes) -> Format | ForeignFormat | None:
    """AVIF and HEIC are one container; what is in it is said by its brands."""
    size = int.from_bytes(start[:4], "big")
    box = start[8 : min(max(size, 12), 256)]
    brands = [box[:4], *(box[place : place + 4] for place in range(8, len(box), 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return AVIF
        if brand in _HEIC_BRANDS:
            return HEIC
    return AVIF if any(brand in _HEIF_BRANDS for brand in brands) else None


def _is_sound(known: Format | ForeignFormat, start: bytes) -> bool:
    """Whether the header goes on as it must, where the first bytes alone begin other files as well."""
    if known is BMP:
        return _is_bmp(start)
    if known in (ICO, CUR):
        # A count of pictures, which is never 0; TGA files may begin alike.
        return start[4:6] != b"\0\0"
    return True


def _is_bmp(start: bytes) -> bool:
    """Whether a header of a length that there is follows the two letters, which begin many a text."""
    return len(start) >= 18 and int.from_bytes(start[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _looks_like_tga(start: bytes) -> bool:
    """Whether the header of 18 bytes makes sense: Truevision TGA 2.0."""
    if len(start) < 18:
        return False
    has_map, kind, depth = start[1], start[2], start[16]
    is_kind = (kind in (1, 9) and has_map == 1) or (kind in (2, 3, 10, 11) and has_map in (0, 1))
    return is_kind and depth in (8, 15, 16, 24, 32)
