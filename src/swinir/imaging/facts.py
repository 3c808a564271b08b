"""What a file says beside its pixels, found without decoding any."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from swinir.imaging.cicp import Cicp
from swinir.imaging.text import Text


class HdrLight(NamedTuple):
    """How bright the screen was that a picture was made on, and how bright the picture is, as PNG and AVIF keep it.

    Attributes:
        mastering: 24 bytes, body of PNG's mDCV chunk and AVIF's mdcv box alike but for the order of colours.
        content: 8 bytes of PNG's cLLI chunk, in units of 1/10,000 cd/m².
    """

    mastering: bytes | None = None
    content: bytes | None = None


NO_LIGHT = HdrLight()


@dataclass(frozen=True, kw_only=True, eq=False)
class GainMap:
    """A gain map as it is kept beside the picture it belongs to.

    Attributes:
        pixels: [h, w, 1 or 3] of uint8, covering the whole picture at any resolution.
        width_ratio: its columns for each column of the picture.
        height_ratio: its rows for each row of the picture.
        segments: of the map's own file, packed: how its values are meant.
        base_segments: of the picture's file, packed: that there is a map by ISO 21496-1.
    """

    pixels: NDArray[Any]
    width_ratio: float
    height_ratio: float
    segments: tuple[bytes, ...]
    base_segments: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a file says; None and empty where it says nothing, or where libvips reads it as well.

    Attributes:
        width_px: of the picture, or of its canvas.
        height_px: of the picture, or of its canvas.
        frames: of an animation, or pages; 1 for a still picture.
        bits: of a value as it is stored.
        exif: a TIFF structure.
        xmp: an XML packet.
        iptc: IIM records.
        texts: words beside the picture.
        cicp: colour by code points.
        light: of an HDR picture.
        profile: an ICC profile made of what the file states in another way.
        gain_map: for HDR screens.
        notes: what is lost, in sentences.
        is_last_frame_cut: the file ends within a frame.
    """

    width_px: int | None = None
    height_px: int | None = None
    frames: int = 1
    bits: int | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: tuple[Text, ...] = ()
    cicp: Cicp | None = None
    light: HdrLight = NO_LIGHT
    profile: bytes | None = None
    gain_map: GainMap | None = None
    notes: tuple[str, ...] = ()
    is_last_frame_cut: bool = False
