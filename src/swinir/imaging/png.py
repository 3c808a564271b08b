"""PNG files, chunk by chunk: what libvips does not read of them, and what it does not write.

Layout: PNG 3rd edition (W3C, 2025). Pixels are not touched here.
"""

import shutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple, Self

from swinir.imaging.cicp import Cicp, Point
from swinir.imaging.facts import Facts, HdrLight
from swinir.imaging.icc import profile_of_gamma, profile_of_primaries
from swinir.imaging.limits import Limits
from swinir.imaging.text import Text, inflated, text_of_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]

_HEADER_END = 8 + (8 + 13 + 4)
_XMP_KEYWORD = b"XML:com.adobe.xmp"
# ImageMagick's way to keep EXIF, IPTC and XMP, as text, from the time before eXIf.
_RAW_PROFILE = "Raw profile type "
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_READ = {*_TEXTS, b"IHDR", b"acTL", b"cICP", b"mDCV", b"cLLI", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"caBX"}
_GRAY_TYPES, _OPAQUE_TYPES = (0, 4), (0, 2)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_OF_ANIMATIONS = (b"acTL", b"fcTL", b"fdAT")
# Left, top, and steps across and down of the passes of an interlaced picture.
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_LAST_FILTER = 4
# Compressed bytes that are unfolded at once; damage costs what they unfold to.
_STEP_BYTES = 256
# gAMA of sRGB is 0.45455; 1 % of it is not seen.
_SRGB_GAMA, _GAMA_TOLERANCE = 0.45455, 0.006
_CHROMATICITY_TOLERANCE = 0.003


class PngHeader(NamedTuple):
    """The fields of IHDR."""

    width: int
    height: int
    bits: int
    color_type: int
    compression: int = 0
    filtering: int = 0
    interlacing: int = 0

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Unpack the chunk's body.

        Raises:
            struct.error: it is cut short.
        """
        return cls(*struct.unpack(">IIBBBBB", body))

    @property
    def bits_per_px(self) -> int:
        """Bits of all channels."""
        return self.bits * _CHANNELS.get(self.color_type, 1)

    @property
    def row_bytes(self) -> int:
        """Length of a row without the byte that names its filter."""
        return (self.width * self.bits_per_px + 7) // 8

    def chunk(self) -> Chunk:
        """Return kind and body."""
        return b"IHDR", struct.pack(">IIBBBBB", *self)


def read_facts(file: BinaryIO, name: str, limits: Limits) -> Facts:
    """Collect what the chunks say.

    Args:
        file: open at any place.
        name: of the file, for messages.
        limits: on chunks that are no pixels.

    Raises:
        ImageTooLargeError: there are more of them.
    """
    found: dict[bytes, bytes] = {}
    texts: list[Text] = []
    xmp: bytes | None = None
    num_records = num_bytes = 0
    for kind, size in iterate_chunks(file):
        if kind in (b"IDAT", b"fdAT", b"fcTL"):
            continue
        num_records, num_bytes = num_records + 1, num_bytes + size
        limits.check_metadata(name, num_records, num_bytes)
        if kind not in _READ:
            continue
        body = file.read(size)
        if kind not in _TEXTS:
            found.setdefault(kind, body)
            num_bytes += _unfolded_bytes(kind, body, limits.max_metadata_bytes)
        elif (text := text_of_chunk(kind, body, limits.max_metadata_bytes)) is not None:
            num_bytes += len(text.text)
            if text.keyword == _XMP_KEYWORD.decode():
                # Some programs write it as zTXt.
                xmp = text.text.encode("utf-8" if kind == b"iTXt" else "latin-1") or xmp
            else:
                texts.append(text)
        limits.check_metadata(name, num_records, num_bytes)
    return _facts(found, texts, xmp)


def chunk_of_xmp(xmp: bytes) -> Chunk:
    """Kind and body of the chunk that holds XMP: XMP specification, part 3, section 1.1.5."""
    return b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + xmp


def insert_chunks(source: BinaryIO, target: BinaryIO, chunks: Iterable[Chunk]) -> None:
    """Copy a PNG file and put chunks in, right behind its header."""
    target.write(source.read(_HEADER_END))
    for kind, body in chunks:
        target.write(packed_chunk(kind, body))
    shutil.copyfileobj(source, target)


def packed_chunk(kind: bytes, body: bytes) -> bytes:
    """Put length and kind before a body, and its checksum behind."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def chunks_of_color(cicp: Cicp | None, light: HdrLight) -> list[Chunk]:
    """Chunks cICP, mDCV and cLLI."""
    if cicp is None:
        return []
    # PNG holds RGB only: matrix 0.
    chunks: list[Chunk] = [(b"cICP", bytes([cicp.primaries, cicp.transfer, 0, cicp.is_full_range]))]
    bodies = ((b"mDCV", light.mastering), (b"cLLI", light.content))
    return chunks + [(kind, body) for kind, body in bodies if body is not None]


def iterate_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield kind and size of every chunk, the file standing at its body; whatever is cut short ends it."""
    end = file.seek(0, 2)
    place = file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if place + 8 + size > end:
            return
        yield kind, size
        if kind == b"IEND":
            return
        place += 8 + size + 4
        file.seek(place)


def ended(data: bytes) -> bytes:
    """Return the whole chunks of a file that was cut short, and an end."""
    end = len(SIGNATURE)
    with BytesIO(data) as file:
        for kind, size in iterate_chunks(file):
            if kind == b"IEND":
                return data
            end = file.tell() + size + 4
    return data[:end] + packed_chunk(b"IEND", b"")


def mended(data: bytes) -> tuple[bytes, int, int]:
    """Make a whole file of a damaged one: every chunk before the damage, and rows of pixels up to it.

    Returns:
        The file, whose other pixels are grey, or transparent or the first of a palette; how many bytes of pixels are
        from the damaged one, and how many there are.

    Raises:
        struct.error: it has no sound header.
    """
    chunks: list[Chunk] = []
    stream = bytearray()
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + size]
        if kind == b"IDAT":
            stream += body
        elif kind not in (b"IEND", *_OF_ANIMATIONS) and len(body) == size:
            chunks.append((kind, body))
        place += 12 + size
    header = chunks[0][1] if chunks and chunks[0][0] == b"IHDR" else b""
    stated = PngHeader.read(header)
    sizes = _row_sizes(stated)
    raw = _inflated_as_far_as_possible(bytes(stream), sum(sizes))
    filling = bytes([0x80 if stated.color_type in _OPAQUE_TYPES and stated.bits >= 8 else 0])
    kept = 0
    rows = bytearray()
    for size in sizes:
        if kept == len(rows) and kept + size <= len(raw) and raw[kept] <= _LAST_FILTER:
            rows += raw[kept : kept + size]
            kept += size
        else:
            rows += b"\0" + filling * (size - 1)
    chunks += [(b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return SIGNATURE + b"".join(packed_chunk(*chunk) for chunk in chunks), kept, len(rows)


def _row_sizes(header: PngHeader) -> list[int]:
    """Bytes of each row as it is compressed, its filter before it: PNG 3rd edition, sections 7.2 and 8.1."""
    sizes: list[int] = []
    for left, top, step_x, step_y in _PASSES if header.interlacing else ((0, 0, 1, 1),):
        columns, rows = -(-(header.width - left) // step_x), -(-(header.height - top) // step_y)
        if columns > 0:
            sizes += [1 + header._replace(width=columns).row_bytes] * max(0, rows)
    return sizes


def _inflated_as_far_as_possible(stream: bytes, num_bytes: int) -> bytes:
    unfolding = zlib.decompressobj()
    raw = bytearray()
    try:
        for place in range(0, len(stream), _STEP_BYTES):
            raw += unfolding.decompress(stream[place : place + _STEP_BYTES], num_bytes - len(raw))
            if len(raw) == num_bytes:
                break
    except zlib.error:
        pass
    return bytes(raw)


def _facts(found: dict[bytes, bytes], texts: list[Text], xmp: bytes | None) -> Facts:
    header = found.get(b"IHDR", b"")
    if len(header) != 13:
        return Facts()
    stated = PngHeader.read(header)
    cicp = _cicp(found.get(b"cICP", b""))
    profile = None
    if cicp is None and b"iCCP" not in found and b"sRGB" not in found:
        profile = _profile(found.get(b"gAMA", b""), found.get(b"cHRM", b""), stated.color_type in _GRAY_TYPES)
    notes: list[str] = []
    if profile is not None:
        notes.append("The colours that gAMA and cHRM state are written as a profile.")
    if b"caBX" in found:
        notes.append("Content credentials (C2PA) were left out, for they vouch for the old pixels.")
    kept = tuple(text for text in texts if not text.keyword.startswith(_RAW_PROFILE))
    raw = {text.keyword.removeprefix(_RAW_PROFILE): text for text in texts if text not in kept}
    exif = _unhexed(raw.get("exif") or raw.get("APP1"))
    return Facts(
        width_px=stated.width,
        height_px=stated.height,
        bits=stated.bits,
        frames=_num_frames(found.get(b"acTL", b"")),
        texts=kept,
        exif=exif if exif is None else exif.removeprefix(b"Exif\0\0"),
        xmp=xmp or _unhexed(raw.get("xmp")),
        iptc=_unhexed(raw.get("iptc")),
        cicp=cicp,
        light=HdrLight(found.get(b"mDCV"), found.get(b"cLLI")),
        profile=profile,
        notes=tuple(notes),
    )


def _num_frames(body: bytes) -> int:
    return max(1, int.from_bytes(body[:4], "big")) if len(body) == 8 else 1


def _cicp(body: bytes) -> Cicp | None:
    return Cicp(body[0], body[1], is_full_range=body[3] == 1) if len(body) == 4 else None


def _profile(gama: bytes, chrm: bytes, is_gray: bool) -> bytes | None:
    """Profile of gAMA and cHRM; None where they are absent, damaged, or say sRGB."""
    gamma = int.from_bytes(gama, "big") / 100_000 if len(gama) == 4 else 0.0
    gamma = gamma if 0.05 < gamma < 20 else 0.0
    is_srgb_curve = gamma == 0 or abs(gamma - _SRGB_GAMA) < _GAMA_TOLERANCE
    chromaticities = None if is_gray else _chromaticities(chrm)
    if not is_srgb_curve:
        return profile_of_gamma(1 / gamma, chromaticities, is_gray=is_gray)
    return None if chromaticities is None else profile_of_primaries(chromaticities)


def _chromaticities(chrm: bytes) -> tuple[Point, Point, Point, Point] | None:
    """Red, green, blue and white of cHRM, where they are a triangle and not sRGB's."""
    if len(chrm) != 32:
        return None
    values = [value / 100_000 for value in struct.unpack(">8I", chrm)]
    white, red, green, blue = zip(values[::2], values[1::2], strict=True)
    (ax, ay), (bx, by), (cx, cy) = red, green, blue
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    srgb = Cicp(1, 13).chromaticities
    assert srgb is not None
    pairs = zip((red, green, blue, white), srgb, strict=True)
    farthest = max(abs(a - b) for stated, usual in pairs for a, b in zip(stated, usual, strict=True))
    is_sound = abs(area) > 1e-3 and min(point[1] for point in (red, green, blue, white)) > 1e-3
    return (red, green, blue, white) if is_sound and farthest > _CHROMATICITY_TOLERANCE else None


def _unfolded_bytes(kind: bytes, body: bytes, max_bytes: int) -> int:
    """Count what a compressed profile unfolds to; 0 for other chunks."""
    if kind != b"iCCP":
        return 0
    try:
        return len(inflated(body.partition(b"\0")[2][1:], max_bytes))
    except zlib.error:
        return 0


def _unhexed(text: Text | None) -> bytes | None:
    """Read what ImageMagick keeps as text: a name, a length, and hexadecimal digits."""
    if text is None:
        return None
    words = text.text.split()
    try:
        return bytes.fromhex("".join(words[2:])) if len(words) > 2 else None
    except ValueError:
        return None
