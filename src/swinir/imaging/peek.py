"""How large a picture is, by its header alone."""

from pathlib import Path
from typing import NamedTuple

from swinir.errors import SwinIRError
from swinir.imaging.formats import Format
from swinir.imaging.io import recognize
from swinir.imaging.limits import Limits
from swinir.imaging.opening import open_file
from swinir.imaging.source import open_source


class PeekedSize(NamedTuple):
    """Size of a picture as it is stored, before it is turned upright, and how many frames or pages it has."""

    height: int
    width: int
    frames: int


def peek_size(path: Path, limits: Limits) -> PeekedSize | None:
    """Read the size of a picture; None where its header does not say, or cannot be read."""
    try:
        source = open_source(path, limits)
        file_format = recognize(source)
        if not isinstance(file_format, Format):
            return None
        opened = open_file(source, file_format, limits)
    except (SwinIRError, OSError, ValueError):
        return None
    facts = opened.facts
    if not (facts.height_px and facts.width_px):
        return None
    return PeekedSize(facts.height_px, facts.width_px, opened.num_frames)
