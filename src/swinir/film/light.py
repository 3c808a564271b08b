"""What an HDR film says of the display that it was made on, and how bright it is."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from swinir.errors import ImageReadError
from swinir.film.colours import Colours

# AVMasteringDisplayMetadata of FFmpeg: red, green, blue and white, each x and y, least and most luminance, as
# fractions; then whether primaries and luminances are there.
_MASTERING = struct.Struct("=20i2i")
_LIGHT_LEVEL = struct.Struct("=2I")


@dataclass(frozen=True, kw_only=True)
class Light:
    """Static metadata of HDR: SMPTE ST 2086 and CTA-861.3.

    Attributes:
        mastering: x and y of red, green, blue and white, then least and most luminance in cd/m²; None if unknown.
        content: brightest pixel and brightest average of a frame, in cd/m²; None if unknown.
    """

    mastering: tuple[float, ...] | None = None
    content: tuple[int, int] | None = None

    def mastering_text(self, xy_unit: float, luminance_unit: float, digits: int) -> str:
        """Write the display as encoders take it, its numbers in units of so much."""
        assert self.mastering is not None
        xy = [f"{round(value / xy_unit, digits):g}" for value in self.mastering[:8]]
        least, most = (f"{round(value / luminance_unit, digits):.10g}" for value in self.mastering[8:])
        red, green, blue, white = (f"({xy[index]},{xy[index + 1]})" for index in range(0, 8, 2))
        return f"G{green}B{blue}R{red}WP{white}L({most},{least})"


NO_LIGHT = Light()


def read_light(
    side_data: Callable[[str], bytes | None], name: str, colours: Colours
) -> tuple[Light, tuple[str, ...]]:
    """Read what a frame says of its light; return it, and notes.

    Args:
        side_data: returns data beside the frame by the name of its kind.
        name: of the film.
        colours: of the film.

    Raises:
        ImageReadError: the film needs Dolby Vision to be shown.
    """
    notes: tuple[str, ...] = ()
    if side_data("DOVI_METADATA") or side_data("DOVI_RPU_BUFFER"):
        if not (colours.is_hdr or colours.transfer == 1):
            raise ImageReadError(
                f"film {name} has colours of Dolby Vision alone (profile 5), which are not read here: convert it to "
                "HDR10 first"
            )
        notes += ("The film's Dolby Vision is left out: what is kept is the picture that it builds on.",)
    if side_data("DYNAMIC_HDR_PLUS"):
        notes += (
            "The film's HDR10+ metadata are left out, because they describe the frames before restoring.",
        )
    mastering, content = side_data("MASTERING_DISPLAY_METADATA"), side_data("CONTENT_LIGHT_LEVEL")
    return Light(mastering=_read_mastering(mastering), content=_read_content(content)), notes


def _read_mastering(data: bytes | None) -> tuple[float, ...] | None:
    if data is None or len(data) < _MASTERING.size:
        return None
    numbers = _MASTERING.unpack_from(data)
    if not (numbers[20] and numbers[21]):
        return None
    return tuple(numbers[index] / max(numbers[index + 1], 1) for index in range(0, 20, 2))


def _read_content(data: bytes | None) -> tuple[int, int] | None:
    if data is None or len(data) < _LIGHT_LEVEL.size:
        return None
    most, average = _LIGHT_LEVEL.unpack_from(data)
    return (most, average) if most or average else None
