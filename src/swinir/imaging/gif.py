"""GIF files, block by block: sizes and frames before anything is decoded. Layout: GIF89a specification."""

import shutil
import struct
from collections.abc import Iterable
from typing import BinaryIO

from swinir.imaging.facts import Facts
from swinir.imaging.limits import Limits
from swinir.imaging.text import Text, text_of_comment

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_COMMENT_LABEL, _APPLICATION_LABEL = 0xFE, 0xFF
_XMP_APPLICATION = b"\x0bXMP DataXMP"
# A packet stands there without blocks. Wherever a reader of blocks comes to its end, these bytes lead it to the end
# of the extension: XMP specification, part 3, section 1.1.2.
_XMP_TRAILER = bytes([1, *range(255, -1, -1), 0])
_BLOCK_BYTES = 255


def read_facts(file: BinaryIO, name: str, limits: Limits) -> Facts:
    """Count frames, and collect comments and XMP.

    Raises:
        ImageTooLargeError: the frames together are larger than the limits allow.
    """
    file.seek(6)
    screen = file.read(7)
    if len(screen) < 7:
        return Facts()
    width, height, flags = struct.unpack("<HHB", screen[:5])
    limits.check_size(name, width, height)
    file.seek(_table_bytes(flags), 1)
    frames, texts, num_bytes, is_cut, xmp = 0, list[Text](), 0, False, None
    while head := file.read(1):
        if head[0] == _IMAGE:
            descriptor = file.read(9)
            if len(descriptor) < 9:
                break
            left, top, frame_width, frame_height, flags = struct.unpack("<HHHHB", descriptor)
            # Some programs write a screen that is smaller than its frames.
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            limits.check_size(name, width, height, frames=frames)
            file.seek(_table_bytes(flags) + 1, 1)
            is_cut = not _pass_blocks(file)
        elif head[0] == _EXTENSION:
            label = file.read(1)
            if label == bytes([_APPLICATION_LABEL]):
                xmp = xmp or _read_application(file, limits.max_metadata_bytes)
                limits.check_metadata(name, len(texts), num_bytes + len(xmp or b""))
            elif label != bytes([_COMMENT_LABEL]):
                _pass_blocks(file)
            elif body := _read_blocks(file):
                num_bytes += len(body)
                texts.append(text_of_comment(body))
                limits.check_metadata(name, len(texts), num_bytes)
        else:
            break
    return Facts(
        width_px=width,
        height_px=height,
        bits=8,
        frames=max(1, frames),
        texts=tuple(texts),
        xmp=xmp,
        is_last_frame_cut=is_cut,
    )


def insert_extensions(
    source: BinaryIO, target: BinaryIO, xmp: bytes | None, comments: Iterable[bytes]
) -> None:
    """Copy a GIF file and put XMP and comments in before its first frame."""
    header = source.read(13)
    target.write(b"GIF89a" + header[6:] + source.read(_table_bytes(header[10])))
    if xmp is not None:
        target.write(bytes([_EXTENSION, _APPLICATION_LABEL]) + _XMP_APPLICATION + xmp + _XMP_TRAILER)
    for comment in comments:
        parts = [comment[place : place + _BLOCK_BYTES] for place in range(0, len(comment), _BLOCK_BYTES)]
        blocks = b"".join(bytes([len(part)]) + part for part in parts)
        target.write(bytes([_EXTENSION, _COMMENT_LABEL]) + blocks + b"\0")
    shutil.copyfileobj(source, target)


def _read_application(file: BinaryIO, max_bytes: int) -> bytes | None:
    """Read the extension of a program; return its XMP, None where it holds something else."""
    start = file.tell()
    is_xmp = file.read(len(_XMP_APPLICATION)) == _XMP_APPLICATION
    begin = file.tell()
    file.seek(start)
    _pass_blocks(file)
    size = file.tell() - len(_XMP_TRAILER) - begin
    if not is_xmp or not 0 < size <= max_bytes:
        return None
    end = file.tell()
    file.seek(begin)
    xmp = file.read(size)
    file.seek(end)
    return xmp


def _table_bytes(flags: int) -> int:
    """Length of a colour table, by the flags that stand before it."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _pass_blocks(file: BinaryIO) -> bool:
    """Pass over blocks, and return whether the empty one is there that ends them."""
    while (size := file.read(1)) and size[0]:
        file.seek(size[0], 1)
    return bool(size)


def _read_blocks(file: BinaryIO) -> bytes:
    parts: list[bytes] = []
    while (size := file.read(1)) and size[0]:
        parts.append(file.read(size[0]))
    return b"".join(parts)
