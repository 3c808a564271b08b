"""What libvips leaves out of a finished file is put in: metadata, and code points of colours."""

import shutil
from pathlib import Path
from typing import BinaryIO

from swinir.files import renamed_when_whole
from swinir.imaging import gif, jpeg, png, webp
from swinir.imaging.encode import exif_to_write, xmp_to_write
from swinir.imaging.formats import AVIF, GIF, JPEG, PNG, TIFF, WEBP, Format
from swinir.imaging.gain_map import encode_gain_map, mpf_segment, mpf_segment_bytes, with_length
from swinir.imaging.heif_writing import insert_properties, property_boxes
from swinir.imaging.image import Image
from swinir.imaging.text import Text, chunk_of_text, comment_of_text
from swinir.imaging.tiff import write_records
from swinir.imaging.xmp import without_gain_map

_HOLDS_TEXTS = (PNG, JPEG, GIF)


def is_complete(image: Image, file_format: Format) -> bool:
    """Whether a file of libvips already says everything."""
    exif = exif_to_write(image, file_format)
    metadata = image.metadata
    if file_format is TIFF:
        return exif is None and metadata.iptc is None
    if file_format is AVIF:
        return not property_boxes(image.cicp, metadata.light)
    if file_format is WEBP:
        return exif is None
    if file_format in _HOLDS_TEXTS:
        return not (exif or metadata.xmp or metadata.texts or image.cicp or metadata.gain_map)
    return True


def complete_file(path: Path, image: Image, file_format: Format, notes: list[str]) -> None:
    """Put into a file of libvips what it lacks, by another that takes its place; as ``complete``."""
    if not is_complete(image, file_format):
        with renamed_when_whole(path) as second, path.open("rb") as bare, second.open("w+b") as whole:
            complete(bare, whole, image, file_format, notes)


def complete(source: BinaryIO, target: BinaryIO, image: Image, file_format: Format, notes: list[str]) -> None:
    """Copy a finished file and put in what it lacks.

    Args:
        source: the file that libvips wrote.
        target: empty, open for reading and writing.
        image: what was written.
        file_format: of the file.
        notes: grows where something cannot be put in.
    """
    exif = exif_to_write(image, file_format)
    if file_format is PNG:
        png.insert_chunks(source, target, png_chunks(image))
    elif file_format is JPEG:
        _complete_jpeg(source, target, image, exif, notes)
    elif file_format is WEBP and exif is not None:
        webp.replace_exif(source, target, exif)
    elif file_format is GIF:
        comments = [comment_of_text(text) for text in image.metadata.texts]
        gif.insert_extensions(source, target, xmp_to_write(image, GIF), comments)
    elif file_format is AVIF:
        if not insert_properties(source, target, property_boxes(image.cicp, image.metadata.light)):
            notes.append("What the colours mean could not be stated: they look different now.")
    else:
        shutil.copyfileobj(source, target)
    if file_format is TIFF and not write_records(target, exif, image.metadata.iptc):
        notes.append("EXIF and IPTC were left out: this TIFF file is too large or they are damaged.")


def note_lost_texts(image: Image, file_format: Format, notes: list[str]) -> None:
    """Name the words beside the picture that the format has no place for, and the levels of light."""
    texts = image.metadata.texts
    if texts and file_format not in _HOLDS_TEXTS:
        keywords = ", ".join(dict.fromkeys(text.keyword for text in texts))
        notes.append(f"{file_format.name} cannot hold texts ({keywords}), which were left out.")
    light = image.metadata.light
    if not file_format.has_cicp and (light.content or light.mastering):
        notes.append(
            f"{file_format.name} is written without the levels of light of HDR, which were left out."
        )


def png_chunks(image: Image) -> list[png.Chunk]:
    """Chunks that libvips does not write."""
    exif = exif_to_write(image, PNG)
    chunks = png.chunks_of_color(image.cicp, image.metadata.light)
    if exif is not None:
        chunks.append((b"eXIf", exif))
    xmp = xmp_to_write(image, PNG)
    if xmp is not None:
        chunks.append(png.chunk_of_xmp(xmp))
    return chunks + [chunk_of_text(text) for text in image.metadata.texts]


def _complete_jpeg(
    source: BinaryIO, target: BinaryIO, image: Image, exif: bytes | None, notes: list[str]
) -> None:
    gain_map = image.metadata.gain_map
    if gain_map is None:
        jpeg.insert_segments(source, target, _jpeg_segments(image, exif, notes, map_bytes=0))
        return
    behind = encode_gain_map(gain_map, image.width, image.height)
    segments = [
        *_jpeg_segments(image, exif, notes, map_bytes=len(behind)),
        *gain_map.base_segments,
    ]
    inserted = sum(map(len, segments))
    num_bytes = source.seek(0, 2) + inserted + mpf_segment_bytes()
    source.seek(0)
    place = jpeg.end_of_jfif_header(source) + inserted
    segments.append(mpf_segment(place, num_bytes, len(behind)))
    jpeg.insert_segments(source, target, segments)
    target.write(behind)


def _jpeg_segments(image: Image, exif: bytes | None, notes: list[str], *, map_bytes: int) -> list[bytes]:
    segments: list[bytes] = []
    if exif is not None:
        body = jpeg.EXIF_PREFIX + exif
        if len(body) > jpeg.MAX_SEGMENT_BYTES:
            notes.append(f"EXIF was left out: its {len(exif):,} bytes are more than JPEG can hold.")
        else:
            segments.append(jpeg.packed_segment(jpeg.APP1, body))
    xmp = xmp_to_write(image, JPEG)
    if xmp is not None:
        xmp = with_length(xmp, map_bytes) if map_bytes else without_gain_map(xmp)
        segments += jpeg.segments_of_xmp(xmp)
    return segments + _comments(image.metadata.texts, notes)


def _comments(texts: tuple[Text, ...], notes: list[str]) -> list[bytes]:
    segments: list[bytes] = []
    for text in texts:
        body = comment_of_text(text)
        if len(body) > jpeg.MAX_SEGMENT_BYTES:
            notes.append(f"The text {text.keyword!r} was left out: it is longer than a comment of JPEG.")
        else:
            segments.append(jpeg.packed_segment(jpeg.COMMENT, body))
    return segments
