"""What a file says beside its pixels, found without decoding any."""

from dataclasses import dataclass
from typing import NamedTuple

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
        notes: what is lost, in sentences.
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
    notes: tuple[str, ...] = ()
