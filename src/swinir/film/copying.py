"""Streams of a film in its result: copied packet by packet, text subtitles converted where they have to be."""

from collections.abc import Callable
from typing import Any

# The form of text that a container takes.
_TEXT_CODEC = {"matroska": "subrip", "webm": "webvtt", "mp4": "mov_text", "mov": "mov_text"}
_TEXTS = ("ass", "mov_text", "srt", "ssa", "subrip", "text", "webvtt")

# Makes of a packet of the film one of the result, or None where there is nothing to write.
CopyPacket = Callable[[Any], Any]


def add_copy(stream: Any, container: Any, kind: str) -> tuple[Any, CopyPacket]:
    """Add a place for a stream to a container, as it is or, if it is text, in the container's own form.

    Raises:
        ValueError: the container takes neither.
    """
    try:
        copied = container.add_stream_from_template(stream, opaque=True)
    except ValueError:
        if stream.codec_context.name not in _TEXTS or stream.codec_context.name == _TEXT_CODEC[kind]:
            raise
        return _add_text(stream, container, kind)

    def relabel(packet: Any) -> Any:
        packet.stream = copied
        return packet

    return copied, relabel


def _add_text(stream: Any, container: Any, kind: str) -> tuple[Any, CopyPacket]:
    """Add a place for text, which goes through FFmpeg's common form, the lines of ASS."""
    decoder = stream.codec_context
    decoder.open(strict=False)
    copied = container.add_stream(_TEXT_CODEC[kind])
    encoder = copied.codec_context
    encoder.subtitle_header = decoder.subtitle_header
    encoder.time_base = stream.time_base

    def convert(packet: Any) -> Any:
        read = decoder.decode2(packet)
        # MP4 fills the time between two with empty ones.
        if read is None or not len(read):
            return None
        made = encoder.encode_subtitle(read)
        made.time_base, made.pts, made.dts = packet.time_base, packet.pts, packet.dts
        made.duration, made.stream = packet.duration, copied
        return made

    return copied, convert
