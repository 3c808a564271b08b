"""Tiny films, for tests: made with PyAV, and taken apart with it."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from giants import one_layer
from swinir.engine import Restorer

WIDTH, HEIGHT = 64, 48
TIME_BASE = Fraction(1, 1000)


def identity() -> Restorer:
    """A network that changes nothing: its last convolution is zero."""
    restorer = one_layer(scale=1)
    state_dict = restorer.forward_pass.copy_parameters()
    for name, values in state_dict.items():
        if name.startswith("conv_last"):
            torch.nn.init.zeros_(values)
    return Restorer(restorer.config, state_dict, device="cpu", precision="fp32", backend="reference")


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture [H, W, 3] of uint8 of soft colours, another one for each number."""
    rows, columns = np.mgrid[:height, :width]
    red = 128 + 60 * np.sin((columns + 7 * number) / 9)
    green = 128 + 60 * np.sin((rows - 5 * number) / 7)
    return np.stack([red, green, np.full_like(red, 60 + 11 * number % 120)], axis=2).astype(np.uint8)


def write_film(
    path: Path,
    *,
    times: Sequence[int] = tuple(range(0, 400, 40)),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    sound: str | None = None,
    set_up: Callable[[Any, Any], None] | None = None,
    **context: Any,
) -> Path:
    """Write a film whose frames are shown at ``times`` of a thousandth of a second."""
    av = __import__("av")
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {}, time_base=TIME_BASE)
        video.codec_context.width, video.codec_context.height = size
        video.codec_context.pix_fmt = pixel_format
        for name, value in context.items():
            setattr(video.codec_context, name, value)
        audio = None
        if sound is not None:
            audio = container.add_stream(sound, rate=48000, layout="mono")
        if set_up is not None:
            set_up(container, video)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=context.get("colorspace", 1))
            frame.pts, frame.time_base = time, TIME_BASE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            length = int(48 * (times[-1] + 40))
            wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(length) / 48000)
            form = audio.codec_context.format.name
            values = wave[None].astype(np.float32) if "flt" in form else (wave[None] * 32767).astype(np.int16)
            tone = av.AudioFrame.from_ndarray(values, format=form, layout="mono")
            tone.sample_rate, tone.pts = 48000, 0
            container.mux(audio.encode(tone))
            container.mux(audio.encode(None))
    return path


def decode(path: Path) -> list[tuple[Fraction, list[np.ndarray]]]:
    """Return when each frame is shown, in seconds, and its planes [H, W]."""
    from swinir.film.reader import planes_of

    av = __import__("av")
    with av.open(str(path)) as container:
        return [
            (frame.pts * frame.time_base, [plane.copy() for plane in planes_of(frame)])
            for frame in container.decode(video=0)
        ]


def packets(path: Path, kind: str) -> list[bytes]:
    """Return the packets of the first stream of a kind."""
    av = __import__("av")
    with av.open(str(path)) as container:
        stream = next(each for each in container.streams if each.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
