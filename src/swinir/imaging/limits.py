"""Limits that guard against files made to fill the memory or to take for ever."""

from dataclasses import dataclass

from swinir.errors import ImageTooLargeError, UsageError

# Below this many pixels a picture may unfold from as few bytes as it likes.
_SMALL_PX = 2**25


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Guards against files that would fill the memory, checked before any pixel is decoded.

    Attributes:
        max_pixels: width times height; as RGB of 8 bit, the default takes 0.8 GB.
        max_side_px: the longer side.
        max_file_bytes: of the file as it is stored.
        max_total_pixels: width times height times frames or pages.
        max_frames: frames or pages.
        max_expansion: pixels per byte of the file, for pictures of more than 33 megapixels; photographs have
            less than 20.
        max_scans: passes of a progressive JPEG, each of which goes over the whole picture; encoders make 10.
        max_metadata_bytes: all that a file holds beside its pixels.
        max_metadata_records: number of its pieces: chunks, segments, directories.
    """

    max_pixels: int = 2**28
    max_side_px: int = 100_000
    max_file_bytes: int = 2**32
    max_total_pixels: int = 2**30
    max_frames: int = 4_000
    max_expansion: int = 400
    max_scans: int = 100
    max_metadata_bytes: int = 2**25
    max_metadata_records: int = 4_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")

    def check_file(self, name: str, num_bytes: int) -> None:
        """Refuse a file that is too long.

        Raises:
            ImageTooLargeError: it is.
        """
        self._check("max_file_bytes", num_bytes, f"{name} has {num_bytes:,} bytes")

    def check_size(self, name: str, width: int, height: int, *, frames: int = 1, num_bytes: int = 0) -> None:
        """Refuse a picture by what its header promises.

        Args:
            name: of the file, for the message.
            width: in pixels.
            height: in pixels.
            frames: of this size.
            num_bytes: of the file, as if its values had 8 bits; 0 where that is unknown.

        Raises:
            ImageTooLargeError: a limit is passed.
        """
        size = f"{name} is {width:,} × {height:,} pixels"
        pixels = width * height
        self._check("max_side_px", max(width, height), size, " a side")
        self._check("max_pixels", pixels, size, " in all")
        self._check("max_frames", frames, f"{name} has {frames:,} frames or pages")
        total = f"{name} has {frames:,} frames or pages of {width:,} × {height:,} pixels"
        self._check("max_total_pixels", pixels * frames, total, " pixels in all")
        if num_bytes and pixels > _SMALL_PX:
            expansion = f"{size}, made of {num_bytes:,} bytes: {pixels // num_bytes:,} pixels from each"
            self._check("max_expansion", pixels // num_bytes, expansion)

    def check_scans(self, name: str, scans: int) -> None:
        """Refuse a JPEG of too many passes.

        Raises:
            ImageTooLargeError: it has.
        """
        self._check("max_scans", scans, f"{name} goes over its picture more than {scans - 1:,} times")

    def check_metadata(self, name: str, num_records: int, num_bytes: int) -> None:
        """Refuse a file that holds too much beside its pixels.

        Raises:
            ImageTooLargeError: it does.
        """
        held = f"{name} holds at least {num_records:,} pieces of metadata"
        self._check("max_metadata_records", num_records, held)
        self._check("max_metadata_bytes", num_bytes, f"{name} holds at least {num_bytes:,} bytes of metadata")

    def _check(self, field: str, value: int, fact: str, unit: str = "") -> None:
        limit: int = getattr(self, field)
        if value > limit:
            raise ImageTooLargeError(
                f"{fact} and the limit is {limit:,}{unit}; raise the limit to read it ({field}, {_flag_of(field)})",
                limit=field,
            )


def _flag_of(field: str) -> str:
    """Return the option of the command line that raises a limit."""
    return "--max-megapixels" if field in ("max_pixels", "max_total_pixels") else "--no-limits"


DEFAULT_LIMITS = Limits()
NO_LIMITS = Limits(**dict.fromkeys(vars(DEFAULT_LIMITS), 2**62))
