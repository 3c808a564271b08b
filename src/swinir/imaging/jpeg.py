"""JPEG files, segment by segment: what libvips does not read of them, and what it does not write.

Layout: ITU-T T.81, annex B. Coefficients are not touched here.
"""

import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from typing import BinaryIO, NamedTuple

from swinir.imaging.facts import Facts
from swinir.imaging.limits import Limits
from swinir.imaging.text import text_of_comment
from swinir.imaging.xmp import joined_xmp

# A segment's length counts its own two bytes and has sixteen bits.
MAX_SEGMENT_BYTES = 65_533
EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"
# GUID, length of the whole and place of this part follow the prefix: XMP specification, part 3, section 1.1.3.1.
_EXTENDED_XMP_HEAD = 32 + 4 + 4
APP0, APP1, APP2, _APP11, COMMENT = 0xE0, 0xE1, 0xE2, 0xEB, 0xFE
_SOI, _EOI, _SOS, _DQT, _DNL = 0xD8, 0xD9, 0xDA, 0xDB, 0xDC
# Start of frame: all but DHT, JPG and DAC of this range; those of bit 1 set are progressive.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Markers without a length.
_BARE = {0x01, *range(0xD0, 0xD9)}
# A marker may have any number of 0xFF before it: these are the last one and the code.
_MARKER = re.compile(rb"\xff([^\x00\xff])")
# What ends a stretch of coefficients: any marker but a stuffed zero and the restart markers.
_END_OF_COEFFICIENTS = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_BLOCK_BYTES = 2**20
# A coefficient is a code and a number of at most 16 bits each (T.81, section F.1), and each byte may be stuffed.
_MOST_COEFFICIENT_BYTES = 8
# Blocks of all components come together in units of at most four by four.
_LARGEST_UNIT_PX = 32
# More between two segments is no damage but another file, or none.
_MOST_STRAY_BYTES = 2**24
# So many zeros up to the end of a file are what a download that was broken off left of it.
_UNWRITTEN_BYTES = 1024
# What the header of a scan that is not progressive ends with: coefficients 0 to 63, all of their bits.
_WHOLE_SCAN = bytes([0, 63, 0])
NOTE_ON_END = "The end marker was missing; the picture is whole."


class Segment(NamedTuple):
    """A marker and where the body behind its length stands."""

    marker: int
    start: int
    size: int

    @property
    def end(self) -> int:
        """Where the next marker should stand."""
        return self.start + self.size


@dataclass
class Structure:
    """How a JPEG file is built.

    Attributes:
        segments: in order, those of scans among them.
        end: place behind the end marker; None where there is none.
        cut: place behind which nothing belongs to the picture although no end marker was found; None where there
            is none.
        is_progressive: its scans refine the picture.
        stray: stretches (from, to) between segments that belong to none.
        has_odd_headers: a scan or the file states what strict decoders do not take.
        is_complete: every coefficient of every component is stated to its last bit.
    """

    segments: list[Segment] = field(default_factory=list[Segment])
    end: int | None = None
    cut: int | None = None
    is_progressive: bool = False
    width_px: int = 0
    height_px: int = 0
    bits: int = 8
    num_components: int = 0
    stray: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    has_odd_headers: bool = False
    is_complete: bool = False
    scans: int = 0


def read_facts(file: BinaryIO, name: str, limits: Limits) -> tuple[Facts, Structure]:
    """Collect what the segments say.

    Raises:
        ImageTooLargeError: there are more segments or scans than the limits allow.
    """
    structure = read_structure(file, name, limits)
    main_xmp, extended = None, dict[bytes, dict[int, bytes]]()
    texts = []
    is_certified = False
    for segment in structure.segments:
        if segment.marker not in (APP1, COMMENT, _APP11):
            continue
        file.seek(segment.start)
        body = file.read(segment.size)
        if segment.marker == COMMENT and body.strip(b"\0 "):
            texts.append(text_of_comment(body))
        elif body.startswith(XMP_PREFIX):
            main_xmp = main_xmp or body[len(XMP_PREFIX) :]
        elif body.startswith(_EXTENDED_XMP_PREFIX):
            guid, place, part = _extended_part(body)
            extended.setdefault(guid, {})[place] = part
        is_certified = is_certified or (segment.marker == _APP11 and b"c2pa" in body)
    notes = []
    if is_certified:
        notes.append("Content credentials (C2PA) were left out, for they vouch for the old pixels.")
    xmp = joined_xmp(main_xmp, {guid: _assembled(parts) for guid, parts in extended.items()})
    facts = Facts(
        width_px=structure.width_px or None,
        height_px=structure.height_px or None,
        bits=structure.bits,
        xmp=xmp,
        texts=tuple(texts),
        notes=tuple(notes),
    )
    return facts, structure


def read_structure(file: BinaryIO, name: str, limits: Limits) -> Structure:
    """Go over a file from marker to marker, whatever is damaged in between.

    Raises:
        ImageTooLargeError: there are more segments or scans than the limits allow.
    """
    found = Structure()
    progress = _Progress()
    end = file.seek(0, 2)
    place = 2
    num_bytes = 0
    while (marker := _next_marker(file, place)) is not None:
        start, code, after = marker
        if start > place:
            found.stray.append((place, start))
        if code == _EOI:
            found.end = after
            break
        if code in _BARE:
            place = after
            continue
        size = _length(file, after)
        if size is None or after + 2 + size > end:
            found.cut = start
            break
        segment = Segment(code, after + 2, size)
        found.segments.append(segment)
        num_bytes += size
        limits.check_metadata(name, len(found.segments) - found.scans, num_bytes)
        place = segment.end
        _read_header(file, segment, found, progress)
        if code == _SOS:
            limits.check_scans(name, found.scans + 1)
            place = _pass_over_scan(file, segment, found, progress, end)
            if found.cut is not None:
                break
    if marker is None and end - place > _MOST_STRAY_BYTES:
        found.cut = place
    found.is_complete = progress.is_complete()
    return found


def mended(data: bytes, structure: Structure) -> tuple[bytes, tuple[str, ...]]:
    """Take out of a file what keeps strict decoders from a picture that every viewer shows.

    Returns:
        The file, and notes on what was mended; none where it was sound.
    """
    notes: list[str] = []
    repaired = bytearray(data[: structure.end or structure.cut])
    for segment in structure.segments:
        header = data[segment.start : segment.end]
        if segment.marker == _SOS and not structure.is_progressive and header[-3:] != _WHOLE_SCAN:
            repaired[segment.end - 3 : segment.end] = _WHOLE_SCAN
            notes.append("The header of a scan was odd and read as one of the whole picture.")
        if segment.marker == APP0 and header.startswith(b"JFIF\0") and len(header) > 5:
            repaired[segment.start + 5] = 1
    for start, end in reversed(structure.stray):
        del repaired[start:end]
    if structure.stray:
        total = sum(end - start for start, end in structure.stray)
        notes.append(f"{total:,} stray bytes between its parts were passed over.")
    if structure.end is None and structure.is_complete:
        repaired += bytes([0xFF, _EOI])
        notes.append(NOTE_ON_END)
    return bytes(repaired), tuple(notes)


def end_of_jfif_header(file: BinaryIO) -> int:
    """Find the place where further segments may stand; the file stands at its beginning again."""
    head = file.read(6)
    file.seek(0)
    return 4 + struct.unpack(">H", head[4:])[0] if head[3] == APP0 else 2


def insert_segments(source: BinaryIO, target: BinaryIO, segments: Iterable[bytes]) -> None:
    """Copy a JPEG file and put packed segments in, behind its JFIF header."""
    target.write(source.read(2))
    head = source.read(4)
    if head[1] == APP0:
        target.write(head + source.read(struct.unpack(">H", head[2:])[0] - 2))
        head = b""
    for segment in segments:
        target.write(segment)
    target.write(head)
    shutil.copyfileobj(source, target)


def packed_segment(marker: int, body: bytes) -> bytes:
    """Put marker and length before a body.

    Raises:
        ValueError: the body is longer than ``MAX_SEGMENT_BYTES``.
    """
    if len(body) > MAX_SEGMENT_BYTES:
        raise ValueError(f"body has {len(body):,} bytes and a JPEG segment holds {MAX_SEGMENT_BYTES:,}")
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def segments_of_xmp(xmp: bytes) -> list[bytes]:
    """Segments for an XMP packet; one that is too long goes into extended ones, named by the first."""
    if len(XMP_PREFIX) + len(xmp) <= MAX_SEGMENT_BYTES:
        return [packed_segment(APP1, XMP_PREFIX + xmp)]
    # The specification names the packet by its MD5; nothing is kept secret by it.
    guid = md5(xmp, usedforsecurity=False).hexdigest().upper().encode()
    first = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        b'xmpNote:HasExtendedXMP="' + guid + b'"/></rdf:RDF></x:xmpmeta>'
    )
    segments = [packed_segment(APP1, XMP_PREFIX + first)]
    most = MAX_SEGMENT_BYTES - len(_EXTENDED_XMP_PREFIX) - _EXTENDED_XMP_HEAD
    for place in range(0, len(xmp), most):
        head = _EXTENDED_XMP_PREFIX + guid + struct.pack(">II", len(xmp), place)
        segments.append(packed_segment(APP1, head + xmp[place : place + most]))
    return segments


class _Progress:
    """Which bits of which coefficients have been stated."""

    def __init__(self) -> None:
        # Lowest bit that is known of each of the 64 coefficients, by component; None before the first scan.
        self._low_bits: dict[int, list[int | None]] = {}

    def begin(self, components: Iterable[int]) -> None:
        self._low_bits = {component: [None] * 64 for component in components}

    def add(self, header: bytes, *, is_progressive: bool) -> None:
        """Count a scan by its header: T.81, section B.2.3."""
        num_components = header[0] if header else 0
        if len(header) < 1 + 2 * num_components + 3:
            return
        components = header[1 : 1 + 2 * num_components : 2]
        first, last, bits = header[1 + 2 * num_components : 4 + 2 * num_components]
        if not is_progressive:
            first, last, bits = 0, 63, 0
        for component in components:
            known = self._low_bits.get(component)
            for index in range(first, min(last, 63) + 1) if known is not None else ():
                known[index] = bits & 15  # pyright: ignore[reportOptionalSubscript]

    def is_complete(self) -> bool:
        return bool(self._low_bits) and all(bit == 0 for known in self._low_bits.values() for bit in known)


def _read_header(file: BinaryIO, segment: Segment, found: Structure, progress: _Progress) -> None:
    """Note what the segment says if it is JFIF's or starts the frame (T.81, section B.2.2)."""
    if segment.marker == APP0:
        # Strict decoders know versions 1.x of JFIF only.
        head = _body(file, segment)[:6]
        found.has_odd_headers |= head.startswith(b"JFIF\0") and head[5:] not in (b"\1", b"")
    if segment.marker not in _FRAMES or found.width_px:
        return
    body = _body(file, segment)
    if len(body) < 6:
        return
    found.bits, found.height_px, found.width_px, found.num_components = struct.unpack(">BHHB", body[:6])
    found.is_progressive = segment.marker in _PROGRESSIVE
    progress.begin(body[6 : 6 + 3 * found.num_components : 3])


def _pass_over_scan(file: BinaryIO, segment: Segment, found: Structure, progress: _Progress, end: int) -> int:
    """Note what a scan's header says, and return where its coefficients end."""
    header = _body(file, segment)
    found.scans += 1
    found.has_odd_headers |= not found.is_progressive and header[-3:] != _WHOLE_SCAN
    progress.add(header, is_progressive=found.is_progressive)
    place = _end_of_coefficients(file, segment.end, _most_bytes(found))
    found.cut = _end_of_written(file, segment.end, place, end)
    return place


def _body(file: BinaryIO, segment: Segment) -> bytes:
    file.seek(segment.start)
    return file.read(segment.size)


def _length(file: BinaryIO, place: int) -> int | None:
    file.seek(place)
    head = file.read(2)
    return int.from_bytes(head, "big") - 2 if len(head) == 2 and head >= b"\0\2" else None


def _next_marker(file: BinaryIO, place: int) -> tuple[int, int, int] | None:
    """Find the next marker from a place on: where it stands, its code, and the place behind it."""
    for start, block in _blocks(file, place, _MOST_STRAY_BYTES):
        match = _MARKER.search(block)
        if match is not None:
            return start + _beginning(block, match), match[1][0], start + match.end()
    return None


def _beginning(block: bytes, marker: re.Match[bytes]) -> int:
    """Return where the 0xFF begin that stand before a code."""
    return len(block[: marker.start()].rstrip(b"\xff"))


def _most_bytes(frame: Structure) -> int:
    """Return how many bytes a scan of a frame can take; a height that is stated behind the scan may be any."""
    width, height = (
        -(-side // _LARGEST_UNIT_PX) * _LARGEST_UNIT_PX for side in (frame.width_px, frame.height_px)
    )
    return _MOST_COEFFICIENT_BYTES * frame.num_components * width * (height or 2**16) + _BLOCK_BYTES


def _end_of_coefficients(file: BinaryIO, place: int, most: int) -> int:
    """Find the marker that ends a scan, or the end of the file, or of the most bytes that it can take."""
    end = place
    for start, block in _blocks(file, place, most):
        match = _END_OF_COEFFICIENTS.search(block)
        if match is not None:
            return start + _beginning(block, match)
        end = start + len(block)
    return end


def _end_of_written(file: BinaryIO, start: int, stop: int, end: int) -> int | None:
    """Return where the coefficients from ``start`` to ``stop`` end, if no marker does it; else None.

    They go on for longer than they can, or there are zeros up to the end of the file.
    """
    file.seek(stop)
    if file.read(1) == b"\xff":
        return None
    place = stop
    last = 0
    while place > start:
        size = min(_BLOCK_BYTES, place - start)
        file.seek(place - size)
        written = file.read(size).rstrip(b"\0")
        place += len(written) - size
        if written:
            last = written[-1]
            break
    if stop == end and end - place < _UNWRITTEN_BYTES:
        return None
    # A zero behind 0xFF belongs to it.
    return place + (last == 0xFF)


def _blocks(file: BinaryIO, place: int, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield ``most`` bytes of a file or some more, in blocks that overlap by a byte, so that no marker is cut."""
    num_bytes = 4096
    last = place + most
    while place < last:
        file.seek(place)
        block = file.read(num_bytes)
        if len(block) < 2:
            return
        yield place, block
        place += len(block) - 1
        num_bytes = _BLOCK_BYTES


def _extended_part(body: bytes) -> tuple[bytes, int, bytes]:
    start = len(_EXTENDED_XMP_PREFIX)
    guid = body[start : start + 32]
    place = int.from_bytes(body[start + 36 : start + 40], "big")
    return guid, place, body[start + _EXTENDED_XMP_HEAD :]


def _assembled(parts: dict[int, bytes]) -> bytes:
    return b"".join(part for _, part in sorted(parts.items()))
