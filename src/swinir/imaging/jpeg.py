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
# What ends a stretch of coefficients: any marker but a stuffed zero and the restart markers.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_BLOCK_BYTES = 2**20
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
        cut: where the segment begins within which the file ends; None where there is none.
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
        if code == APP0:
            # Strict decoders know versions 1.x of JFIF only.
            head = _body(file, segment)[:6]
            found.has_odd_headers |= head.startswith(b"JFIF\0") and head[5:] not in (b"\1", b"")
        if code in _FRAMES and not found.width_px:
            _read_frame(file, segment, found, progress)
        if code == _SOS:
            found.scans += 1
            limits.check_scans(name, found.scans)
            header = _body(file, segment)
            found.has_odd_headers |= not found.is_progressive and header[-3:] != _WHOLE_SCAN
            progress.add(header, is_progressive=found.is_progressive)
            place = _end_of_coefficients(file, segment.end)
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


def _read_frame(file: BinaryIO, segment: Segment, found: Structure, progress: _Progress) -> None:
    """Start of frame: T.81, section B.2.2."""
    body = _body(file, segment)
    if len(body) < 6:
        return
    found.bits, found.height_px, found.width_px, num_components = struct.unpack(">BHHB", body[:6])
    found.is_progressive = segment.marker in _PROGRESSIVE
    progress.begin(body[6 : 6 + 3 * num_components : 3])


def _body(file: BinaryIO, segment: Segment) -> bytes:
    file.seek(segment.start)
    return file.read(segment.size)


def _length(file: BinaryIO, place: int) -> int | None:
    file.seek(place)
    head = file.read(2)
    return int.from_bytes(head, "big") - 2 if len(head) == 2 and head >= b"\0\2" else None


def _next_marker(file: BinaryIO, place: int) -> tuple[int, int, int] | None:
    """Find the next marker from a place on: where it stands, its code, and the place behind it."""
    for start, block in _blocks(file, place):
        match = re.search(rb"\xff+([^\x00\xff])", block)
        if match is not None:
            return start + match.start(), match[1][0], start + match.end()
    return None


def _end_of_coefficients(file: BinaryIO, place: int) -> int:
    """Find the marker that ends a scan, or the end of the file."""
    end = place
    for start, block in _blocks(file, place):
        match = _MARKER.search(block)
        if match is not None:
            return start + match.start()
        end = start + len(block)
    return end


def _blocks(file: BinaryIO, place: int) -> Iterator[tuple[int, bytes]]:
    """Yield the file from a place on in blocks that overlap by a byte, so that no marker is cut."""
    num_bytes = 4096
    while True:
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
