"""HEIF files (AVIF, HEIC), box by box: colour by code points, depth, and whether they are films.

Layout: ISO/IEC 23008-12 (HEIF), 14496-12 (boxes), AVIF 1.1. Pixels are not touched here.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from swinir.imaging.cicp import Cicp
from swinir.imaging.facts import Facts, HdrLight
from swinir.imaging.limits import Limits

# Boxes whose bodies are boxes again, and how many bytes stand before those.
_CONTAINERS = {b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"meta": 4}
_GAIN_MAP_ITEM = b"tmap"


class Box(NamedTuple):
    """One box: its kind, its body, and the boxes in it where it has any."""

    kind: bytes
    body: bytes
    inner: "tuple[Box, ...]" = ()

    def find(self, *kinds: bytes) -> "Box | None":
        """Return the first box down a path of kinds."""
        box: Box | None = self
        for kind in kinds:
            box = next((each for each in box.inner if each.kind == kind), None) if box is not None else None
        return box


def read_facts(file: BinaryIO, name: str, limits: Limits) -> Facts:
    """Collect what the boxes say of the main picture.

    Raises:
        ImageTooLargeError: they hold more than the limits allow.
    """
    root = _read_boxes(file, name, limits)
    properties = _properties_of_main(root)
    colr = [box.body for box in properties if box.kind == b"colr" and box.body[:4] == b"nclx"]
    cicp = None
    if colr and len(colr[0]) >= 11:
        primaries, transfer = struct.unpack(">HH", colr[0][4:8])
        cicp = Cicp(primaries, transfer, is_full_range=True)
    size = next((box.body for box in properties if box.kind == b"ispe" and len(box.body) >= 12), None)
    width, height = struct.unpack(">II", size[4:12]) if size is not None else (None, None)
    notes = []
    iinf = root.find(b"meta", b"iinf")
    if iinf is not None and _GAIN_MAP_ITEM in iinf.body:
        notes.append("The HDR gain map was left out: AVIF and HEIC are read without theirs.")
    return Facts(
        width_px=width,
        height_px=height,
        bits=_bits(properties),
        frames=_num_frames(root),
        cicp=None if cicp is None or cicp.is_srgb else cicp,
        light=_light(properties),
        notes=tuple(notes),
    )


def read_durations_ms(file: BinaryIO, name: str, limits: Limits) -> tuple[int, ...]:
    """Say how long each frame of a film is shown: ISO/IEC 14496-12, sections 8.4.2 and 8.6.1.2.

    Raises:
        ImageTooLargeError: the boxes hold more than the limits allow.
    """
    media = _read_boxes(file, name, limits).find(b"moov", b"trak", b"mdia")
    mdhd = media.find(b"mdhd") if media is not None else None
    stts = media.find(b"minf", b"stbl", b"stts") if media is not None else None
    if mdhd is None or stts is None or len(mdhd.body) < 24:
        return ()
    place = 20 if mdhd.body[0] == 1 else 12
    units_per_s = int.from_bytes(mdhd.body[place : place + 4], "big") or 1
    durations: list[int] = []
    for start in range(8, len(stts.body) - 7, 8):
        count, units = struct.unpack_from(">II", stts.body, start)
        durations += [round(1000 * units / units_per_s)] * min(count, limits.max_frames)
    return tuple(durations)


def _read_boxes(file: BinaryIO, name: str, limits: Limits) -> Box:
    """Read the boxes that describe; pixels are passed over."""
    boxes: list[Box] = []
    place, end = 0, file.seek(0, 2)
    num_bytes = 0
    while place + 8 <= end:
        file.seek(place)
        head = file.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        header_bytes = 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack(">Q", head[8:])
            header_bytes = 16
        size = size or end - place
        if size < header_bytes or place + size > end:
            break
        if kind in (b"ftyp", b"meta", b"moov"):
            num_bytes += size
            limits.check_metadata(name, len(boxes) + 1, num_bytes)
            file.seek(place + header_bytes)
            body = file.read(size - header_bytes)
            boxes.append(Box(kind, body, _inner(kind, body, depth=0)))
        place += size
    return Box(b"file", b"", tuple(boxes))


def _inner(kind: bytes, body: bytes, depth: int) -> tuple[Box, ...]:
    if kind not in _CONTAINERS or depth > 8:
        return ()
    return tuple(
        Box(inner, part, _inner(inner, part, depth + 1)) for inner, part in _split(body[_CONTAINERS[kind] :])
    )


def _split(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Cut a body into boxes; what is damaged ends it."""
    place = 0
    while place + 8 <= len(body):
        size, kind = struct.unpack_from(">I4s", body, place)
        start = 8
        if size == 1 and place + 16 <= len(body):
            (size,) = struct.unpack_from(">Q", body, place + 8)
            start = 16
        size = size or len(body) - place
        if size < start:
            return
        yield kind, body[place + start : place + size]
        place += size


def _properties_of_main(root: Box) -> list[Box]:
    """Properties of the primary item, in the order in which they are associated with it."""
    pitm, ipma, ipco = (
        root.find(b"meta", *path) for path in ((b"pitm",), (b"iprp", b"ipma"), (b"iprp", b"ipco"))
    )
    if pitm is None or ipma is None or ipco is None or len(pitm.body) < 6:
        return []
    item = int.from_bytes(pitm.body[4:6] if pitm.body[0] == 0 else pitm.body[4:8], "big")
    indices = _associations(ipma.body).get(item, [])
    return [ipco.inner[index - 1] for index in indices if 0 < index <= len(ipco.inner)]


def _associations(body: bytes) -> dict[int, list[int]]:
    """Which properties belong to which item: HEIF, section 9.3.1."""
    found: dict[int, list[int]] = {}
    if len(body) < 8:
        return found
    item_bytes = 2 if body[0] == 0 else 4
    index_bytes, index_bits = (2, 0x7FFF) if body[3] & 1 else (1, 0x7F)
    (count,) = struct.unpack_from(">I", body, 4)
    place = 8
    for _ in range(min(count, len(body))):
        if place + item_bytes >= len(body):
            break
        item = int.from_bytes(body[place : place + item_bytes], "big")
        num_indices = body[place + item_bytes]
        place += item_bytes + 1
        parts = (
            body[start : start + index_bytes]
            for start in range(place, place + num_indices * index_bytes, index_bytes)
        )
        found[item] = [int.from_bytes(part, "big") & index_bits for part in parts]
        place += num_indices * index_bytes
    return found


def _bits(properties: list[Box]) -> int | None:
    """Bits of a value: HEIF, section 6.5.6."""
    pixi = next((box.body for box in properties if box.kind == b"pixi" and len(box.body) > 5), None)
    return pixi[5] if pixi is not None else None


def _light(properties: list[Box]) -> HdrLight:
    """Boxes mdcv and clli in the units and the order of colours that PNG has."""
    bodies = {box.kind: box.body for box in properties}
    mastering, content = bodies.get(b"mdcv", b""), bodies.get(b"clli", b"")
    turned = None
    if len(mastering) == 24:
        green, blue, red = (mastering[start : start + 4] for start in (0, 4, 8))
        turned = red + green + blue + mastering[12:]
    levels = struct.unpack(">HH", content) if len(content) == 4 else None
    # PNG counts in 1/10,000 of a candela per square metre, HEIF in whole ones.
    return HdrLight(turned, None if levels is None else struct.pack(">II", *(10_000 * x for x in levels)))


def _num_frames(root: Box) -> int:
    """Count the samples of the first film that the file holds; 1 where it holds pictures only."""
    ftyp = root.find(b"ftyp")
    if ftyp is None or ftyp.body[:4] not in (b"avis", b"msf1", b"hevc"):
        return 1
    stsz = root.find(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    return max(1, int.from_bytes(stsz.body[8:12], "big")) if stsz is not None else 1
