"""How frames become packets: which codec in which format, at which quality, with which tags."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from swinir.errors import ImageWriteError, UsageError
from swinir.film.colours import Colours, from_rgb
from swinir.film.light import Light
from swinir.film.pyav import errors_of, import_av
from swinir.film.reader import FilmFacts, planar_name, planes_of
from swinir.film.segments import FilmPacket
from swinir.imaging import shown_path
from swinir.options import FilmOptions, VideoCodec

# Constant quality at which a restored film looks like its frames.
_DEFAULT_CRF = {
    VideoCodec.LIBX264: 17,
    VideoCodec.LIBX265: 18,
    VideoCodec.LIBSVTAV1: 22,
    VideoCodec.LIBVPX_VP9: 20,
}
_MOST_CRF = {
    VideoCodec.LIBX264: 51,
    VideoCodec.LIBX265: 51,
    VideoCodec.LIBSVTAV1: 63,
    VideoCodec.LIBVPX_VP9: 63,
}
_WITH_ODD_SIDES = (VideoCodec.FFV1, VideoCodec.LIBVPX_VP9)
_X26_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_PRESETS = {
    VideoCodec.LIBX264: _X26_PRESETS,
    VideoCodec.LIBX265: _X26_PRESETS,
    VideoCodec.LIBSVTAV1: tuple(str(number) for number in range(14)),
}
# Chroma steps from the least chroma to the most.
_CHROMAS = ((4, 4), (1, 4), (2, 2), (2, 1), (1, 2), (1, 1))
_MOST_BITS = 16


@dataclass(frozen=True, kw_only=True)
class FilmFormat:
    """How the frames of a result are encoded.

    Attributes:
        codec: the encoder.
        pixel_format: FFmpeg's name of how values are laid out.
        options: of the encoder.
        width: of a frame in pixels.
        height: of a frame.
        bits: of a value.
        chroma: luma samples for one of chroma, down and across.
        colours: tags, and the matrix that is computed with.
        time_base: seconds of one step of time.
        rate: frames per second on average.
        pixel_aspect: width of a pixel by its height.
        display_matrix: how frames are turned to be shown.
        notes: what a user should know.
    """

    codec: VideoCodec
    pixel_format: str
    options: Mapping[str, str]
    width: int
    height: int
    bits: int
    chroma: tuple[int, int]
    colours: Colours
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    notes: tuple[str, ...] = ()

    def set_up(self, context: Any) -> None:
        """Give a codec context or a stream of PyAV these parameters."""
        context.width, context.height = self.width, self.height
        context.pix_fmt = self.pixel_format
        context.color_primaries, context.color_trc = self.colours.primaries, self.colours.transfer
        context.colorspace = 0 if self.is_rgb else self.colours.matrix
        context.color_range = 2 if self.colours.is_full or self.is_rgb else 1
        if self.pixel_aspect is not None:
            context.sample_aspect_ratio = self.pixel_aspect

    @property
    def is_rgb(self) -> bool:
        """Whether the file keeps RGB itself."""
        return self.pixel_format.startswith(("gbr", "bgr"))


def choose_format(
    facts: FilmFacts, size: tuple[int, int], destination: Path, options: FilmOptions
) -> FilmFormat:
    """Decide how the frames of a result are encoded: with the bits, chroma, tags and timing of the film.

    Args:
        facts: of the film.
        size: height and width of the result.
        destination: its suffix names the container.
        options: what was asked for.

    Raises:
        UsageError: the codec has no such choice.
        ImageWriteError: the codec holds no such film.
    """
    codec = options.codec
    if codec is VideoCodec.AUTO:
        codec = VideoCodec.LIBX264 if facts.bits == 8 else VideoCodec.LIBX265
        if destination.suffix.lower() == ".webm":
            codec = VideoCodec.LIBSVTAV1
    height, width = size
    pixel_format, bits, chroma = _choose_layout(codec, facts, destination)
    notes = ()
    if codec not in _WITH_ODD_SIDES and (width % chroma[1] or height % chroma[0]):
        width, height = width - width % chroma[1], height - height % chroma[0]
        notes += (f"The last row or column of frames is left out: {codec} writes {width} × {height}.",)
    if bits < facts.bits:
        notes += (f"Of the film's {facts.bits} bits {bits} are kept, which is the most that {codec} has.",)
    light = {} if facts.light == Light() else _light_options(codec, facts.light)
    if light is None:
        notes += (f"What the film says of its HDR display is left out, because {codec} does not keep it.",)
    return FilmFormat(
        codec=codec,
        pixel_format=pixel_format,
        options=_encoder_options(codec, options) | _with_quiet(codec, light or {}),
        width=width,
        height=height,
        bits=bits,
        chroma=chroma,
        colours=facts.colours,
        time_base=facts.time_base,
        rate=facts.rate,
        pixel_aspect=facts.pixel_aspect,
        display_matrix=facts.display_matrix,
        notes=notes,
    )


class FilmEncoder:
    """Encodes frames of one segment; a result is made of as many as it has segments.

    Args:
        form: how.
        path: of the film that is written, for errors.
    """

    def __init__(self, form: FilmFormat, path: Path) -> None:
        self._av = import_av()
        self._form = form
        self._path = path
        self._durations: dict[int, int] = {}
        self._packets: deque[FilmPacket] = deque()
        with errors_of(path, ImageWriteError):
            context = self._av.CodecContext.create(form.codec.value, "w")
            form.set_up(context)
            context.time_base, context.framerate = form.time_base, form.rate
            context.options = dict(form.options)
            context.flags |= self._av.codec.context.Flags.global_header
            context.open()
        self._context = context

    def add(self, pts: int, duration: int, rgb: UInt16[np.ndarray, "h w 3"]) -> None:
        """Encode the next frame."""
        frame = _frame_of(self._av, rgb[: self._form.height, : self._form.width], self._form)
        frame.pts, frame.time_base = pts, self._form.time_base
        self._durations[pts] = duration
        with errors_of(self._path, ImageWriteError):
            self._take(self._context.encode(frame))

    def finish(self) -> list[FilmPacket]:
        """Return all packets, in the order in which they are decoded."""
        with errors_of(self._path, ImageWriteError):
            self._take(self._context.encode(None))
        return list(self._packets)

    def _take(self, packets: list[Any]) -> None:
        for packet in packets:
            pts = round(packet.pts * packet.time_base / self._form.time_base)
            is_key = bool(packet.is_keyframe)
            self._packets.append(FilmPacket(pts, self._durations.pop(pts, 0), is_key, bytes(packet)))


def _choose_layout(
    codec: VideoCodec, facts: FilmFacts, destination: Path
) -> tuple[str, int, tuple[int, int]]:
    """Choose the format of pixels that keeps a film's bits and chroma, or as many of its bits as there are."""
    known = {form.name for form in import_av().Codec(codec.value, "w").video_formats or ()}
    if facts.is_rgb and codec is VideoCodec.FFV1:
        return ("bgr0" if facts.bits == 8 else f"gbrp{facts.bits}le"), facts.bits, (1, 1)
    chromas = [each for each in _CHROMAS if each[0] <= facts.chroma[0] and each[1] <= facts.chroma[1]]
    more = [bits for bits in (8, 9, 10, 12, 14, 16) if bits >= facts.bits]
    fewer = [bits for bits in (14, 12, 10) if bits < facts.bits]
    for bits in more + fewer:
        for chroma in chromas:
            if (name := planar_name(bits, chroma)) in known:
                return name, bits, chroma
    name = "RGB" if facts.is_rgb else planar_name(8, facts.chroma)[3:6]
    fitting = (
        "libsvtav1, or an output in .mkv" if destination.suffix.lower() == ".webm" else "libx265 or ffv1"
    )
    raise ImageWriteError(
        f"{shown_path(destination)} cannot be written by {codec}, which takes no {':'.join(name)} of {facts.bits} "
        f"bits: choose --video-codec {fitting}"
    )


def _encoder_options(codec: VideoCodec, options: FilmOptions) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if codec in _DEFAULT_CRF:
        crf = _DEFAULT_CRF[codec] if options.crf is None else options.crf
        if not 0 <= crf <= _MOST_CRF[codec]:
            raise UsageError(f"crf is {crf:g}: {codec} takes 0 to {_MOST_CRF[codec]}")
        chosen["crf"] = f"{crf:g}"
    elif options.crf is not None:
        raise UsageError(f"crf is {options.crf:g}, but {codec} has none: leave it out")
    if options.preset is not None:
        if codec not in _PRESETS:
            raise UsageError(f"preset is {options.preset}, but {codec} has none: leave it out")
        if options.preset not in _PRESETS[codec]:
            known = ", ".join(_PRESETS[codec])
            raise UsageError(f"preset is {options.preset}, which {codec} does not have: choose of {known}")
        chosen["preset"] = options.preset
    if codec is VideoCodec.LIBVPX_VP9:
        chosen |= {"b": "0", "row-mt": "1"}
    return chosen


def _light_options(codec: VideoCodec, light: Light) -> dict[str, str] | None:
    """Return what says the light of an HDR film to an encoder; None if it cannot be stated."""
    stated: dict[str, str] = {}
    if codec in (VideoCodec.LIBX264, VideoCodec.LIBX265):
        # ST 2086 counts chromaticities in 0.00002 and luminances in 0.0001.
        if light.mastering is not None:
            key = "mastering-display" if codec is VideoCodec.LIBX264 else "master-display"
            stated[key] = light.mastering_text(0.00002, 0.0001, 0)
        if light.content is not None:
            key = "cll" if codec is VideoCodec.LIBX264 else "max-cll"
            stated[key] = f"{light.content[0]},{light.content[1]}"
        return stated
    if codec is VideoCodec.LIBSVTAV1:
        if light.mastering is not None:
            stated["mastering-display"] = light.mastering_text(1, 1, 5)
        if light.content is not None:
            stated["content-light"] = f"{light.content[0]},{light.content[1]}"
        return stated
    return None


def _with_quiet(codec: VideoCodec, stated: Mapping[str, str]) -> dict[str, str]:
    """Put what goes by an encoder's own parameters into one option; x265 writes nothing to standard error."""
    names = {
        VideoCodec.LIBX264: "x264-params",
        VideoCodec.LIBX265: "x265-params",
        VideoCodec.LIBSVTAV1: "svtav1-params",
    }
    parameters = dict(stated)
    if codec is VideoCodec.LIBX265:
        parameters["log-level"] = "none"
        if stated:
            parameters |= {"hdr10": "1", "repeat-headers": "1"}
    return (
        {names[codec]: ":".join(f"{key}={value}" for key, value in parameters.items())} if parameters else {}
    )


def _frame_of(av: Any, rgb: UInt16[np.ndarray, "h w 3"], form: FilmFormat) -> Any:
    height, width = rgb.shape[:2]
    if form.is_rgb:
        if form.bits == 8:
            frame = av.VideoFrame.from_ndarray(
                ((rgb + np.uint32(128)) // 257).astype(np.uint8), format="rgb24"
            )
            return frame.reformat(format=form.pixel_format)
        scale = np.float32((2**form.bits - 1) / 65535)
        values = [(rgb[:, :, index] * scale + np.float32(0.5)).astype(np.uint16) for index in (1, 2, 0)]
        name = form.pixel_format
    else:
        values = from_rgb(rgb, form.bits, form.colours, form.chroma)
        name = planar_name(form.bits, form.chroma)
    frame = av.VideoFrame(width, height, name)
    for plane, pixels in zip(planes_of(frame), values, strict=True):
        plane[:] = pixels
    frame.colorspace = 0 if form.is_rgb else form.colours.matrix
    frame.color_range = 2 if form.colours.is_full or form.is_rgb else 1
    frame.color_primaries, frame.color_trc = form.colours.primaries, form.colours.transfer
    return frame
