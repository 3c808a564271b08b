"""The segments of a result joined into a file, with all that the film has beside its frames.

Sound, subtitles and attachments are copied as they are; text subtitles that a container does not take in their own
form are converted to its own.
"""

import heapq
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swinir.errors import ImageWriteError
from swinir.files import renamed_when_whole
from swinir.film.copying import CopyPacket, add_copy
from swinir.film.encoding import FilmFormat
from swinir.film.pyav import errors_of, import_av, open_film
from swinir.film.reader import FilmReader
from swinir.film.segments import FilmPacket, read_packets, read_times
from swinir.imaging import shown_path

_CONTAINERS = {".mkv": "matroska", ".webm": "webm", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
_CONTAINER_OPTIONS = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}
# What a container says of itself and of how it was written; the result says it anew.
_OWN_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "xmp"}
# Box of an XMP packet in ISO media files: XMP specification, part 3, section 1.2.7.
_XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_STATISTICS = ("_statistics", "bps", "number_of_", "duration")


@dataclass
class _Output:
    """An open file, and where the packets of the film's streams go in it."""

    container: Any
    video: Any
    copies: dict[int, CopyPacket] = field(default_factory=dict[int, CopyPacket])
    notes: list[str] = field(default_factory=list[str])


def check_container(film: FilmReader, destination: Path, form: FilmFormat, folder: Path) -> None:
    """Require that the container of a result holds all that goes into it, before hours are spent.

    Raises:
        ImageWriteError: it does not.
    """
    path = folder / "header"
    hint = ": choose .mkv, or another --video-codec"
    try:
        with errors_of(destination, ImageWriteError, hint):
            output = _open_output(film, path, destination, form)
            with output.container:
                output.container.start_encoding()
    finally:
        path.unlink(missing_ok=True)


def join(
    film: FilmReader, destination: Path, form: FilmFormat, segments: Sequence[Path], *, xmp: bytes
) -> tuple[str, ...]:
    """Write a result: the frames of all segments, and what the film has beside its own; return notes.

    Args:
        film: that is restored.
        destination: of the result.
        form: of the segments.
        segments: in their order.
        xmp: an XMP packet that says what the result is.

    Raises:
        ImageWriteError: the disk refuses.
    """
    try:
        with errors_of(destination, ImageWriteError), renamed_when_whole(destination) as beside:
            output = _open_output(film, beside, destination, form)
            is_mp4 = output.container.format.name in _CONTAINER_OPTIONS
            with output.container:
                if not is_mp4:
                    output.container.metadata["XMP"] = xmp.decode()
                output.container.start_encoding()
                for packet in heapq.merge(
                    _video_packets(output, form, segments), _copied_packets(film, output), key=_decoding_time
                ):
                    output.container.mux(packet)
            if is_mp4:
                with beside.open("ab") as file:
                    file.write(struct.pack(">I4s16s", 24 + len(xmp), b"uuid", _XMP_UUID) + xmp)
    except OSError as error:
        raise ImageWriteError(
            f"{shown_path(destination)} cannot be written ({error.strerror or error})"
        ) from error
    return tuple(output.notes)


def _open_output(film: FilmReader, path: Path, destination: Path, form: FilmFormat) -> _Output:
    """Create a file with a stream for each that it is to have; nothing is written yet."""
    av = import_av()
    kind = _CONTAINERS[destination.suffix.lower()]
    source = film.container
    # Without the random number that Matroska puts into every file: the same film has the same bytes.
    options = {"fflags": "+bitexact"} | _CONTAINER_OPTIONS.get(kind, {})
    container = av.open(f"file:{path}", "w", format=kind, container_options=options)
    container.metadata.update(_kept_tags(source.metadata))
    container.set_chapters(source.chapters())
    try:
        video = container.add_stream(
            form.codec.value, rate=form.rate, options=dict(form.options), time_base=form.time_base
        )
    except ValueError as error:
        raise ImageWriteError(
            f"{shown_path(destination)} cannot hold what {form.codec} writes: choose .mkv, or another --video-codec"
        ) from error
    form.set_up(video.codec_context)
    if form.codec == "libx265" and kind in ("mp4", "mov"):
        # As players of Apple want it.
        video.codec_context.codec_tag = "hvc1"
    if form.display_matrix is not None:
        video.set_display_matrix(form.display_matrix)
    video.metadata.update(_kept_tags(film.stream.metadata))
    video.disposition = film.stream.disposition
    output = _Output(container, video)
    for stream in source.streams:
        if stream.index != film.stream.index:
            _add_copy(av, stream, output, destination, kind)
    return output


def _add_copy(av: Any, stream: Any, output: _Output, destination: Path, kind: str) -> None:
    """Make a place for a stream that is copied, or note that it is left out."""
    name = shown_path(destination)
    container = output.container
    if stream.type == "attachment":
        if kind == "matroska":
            container.add_attachment(
                stream.metadata.get("filename", "attachment"), stream.mimetype or "", stream.data
            )
        else:
            output.notes.append(f"{name} holds no attachments: those of the film are left out.")
        return
    if stream.type == "data" or stream.codec_context is None:
        # MP4 keeps the names of chapters in such a stream, and it is written anew.
        if stream.name != "bin_data" or not stream.container.chapters():
            output.notes.append(f"A stream of data ({stream.name or stream.type}) is left out.")
        return
    codec = stream.codec_context.name
    try:
        copied, take = add_copy(stream, container, kind)
    except ValueError as error:
        if stream.type == "subtitle":
            output.notes.append(f"{name} cannot hold the film's subtitles ({codec}): they are left out.")
            return
        kind_of_stream = "sound" if stream.type == "audio" else stream.type
        raise ImageWriteError(
            f"{name} cannot hold the film's {kind_of_stream} ({codec}): choose .mkv"
        ) from error
    copied.metadata.update(_kept_tags(stream.metadata))
    copied.disposition = stream.disposition
    output.copies[stream.index] = take


def _video_packets(output: _Output, form: FilmFormat, segments: Sequence[Path]) -> Iterator[Any]:
    """Yield the packets of all segments with times of decoding, which rise and never pass those of showing."""
    av = import_av()
    times = list(read_times(segments))
    shown = sorted(times)
    place = {pts: index for index, (pts, _) in enumerate(shown)}
    delay = max((index - place[pts] for index, (pts, _) in enumerate(times)), default=0)
    step = max(1, round(1 / form.rate / form.time_base))
    for index, packet in enumerate(read_packets(segments)):
        decoded = index - delay
        made = av.Packet(packet.data)
        made.time_base, made.is_keyframe = form.time_base, packet.is_key
        made.pts, made.duration = packet.pts, _duration(packet, shown, place, step)
        made.dts = shown[decoded][0] if decoded >= 0 else shown[0][0] + decoded * step
        made.stream = output.video
        yield made


def _duration(packet: FilmPacket, shown: Sequence[tuple[int, int]], place: dict[int, int], step: int) -> int:
    following = place[packet.pts] + 1
    return shown[following][0] - packet.pts if following < len(shown) else packet.duration or step


def _copied_packets(film: FilmReader, output: _Output) -> Iterator[Any]:
    if not output.copies:
        return
    with open_film(film.path) as source:
        wanted = [stream for stream in source.streams if stream.index in output.copies]
        last_s = 0.0
        for packet in source.demux(wanted):
            # Such a one marks the end.
            if packet.size == 0:
                continue
            made = output.copies[packet.stream_index](packet)
            if made is not None:
                if made.dts is None and made.pts is None:
                    made.pts = made.dts = round(last_s / made.time_base)
                last_s = _decoding_time(made)
                yield made


def _decoding_time(packet: Any) -> float:
    """Return when a packet is decoded, in seconds."""
    time = packet.pts if packet.dts is None else packet.dts
    return float((time or 0) * packet.time_base)


def _kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in _OWN_TAGS and not key.lower().startswith(_STATISTICS)
    }
