"""What was exported must restore as PyTorch does: on sizes that hurt, before anybody gets the file."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, log10

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from swinir.errors import ExportError

# Batch, height, width: one pixel, less than a window of 7 or 8, one and one more, several images, far from square.
SIZES = ((1, 1, 1), (1, 1, 7), (1, 7, 8), (2, 8, 9), (1, 40, 2), (1, 63, 65))
# Largest difference of a value in [0, 1], and least PSNR where products are in half precision.
MOST_DIFFERENCE = 1e-4
LEAST_HALF_PSNR_DB = 55.0

Restore = Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b c sh sw"]]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far apart two restorations of images of one size are, of values in [0, 1]."""

    size: tuple[int, int, int]
    largest: float
    psnr_db: float

    def __str__(self) -> str:
        batch, height, width = self.size
        images = f"{batch} × " if batch > 1 else ""
        psnr = "equal" if self.psnr_db == inf else f"{self.psnr_db:.1f} dB"
        return f"{images}{height}×{width}: {self.largest:.1e}, {psnr}"


def compare(expected: Restore, proofs: Sequence[Restore], *, channels: int) -> list[Difference]:
    """Restore a picture of every size in all ways, and return how far the farthest is from what is expected.

    Raises:
        ExportError: an output has another size, or a value is not finite.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = [draw_picture(size, channels, generator) for size in SIZES]
    return [
        min((_compare(picture, expected, proof) for proof in proofs), key=lambda found: found.psnr_db)
        for picture in pictures
    ]


def check(differences: Iterable[Difference], *, is_half: bool) -> None:
    """Refuse what is not the same network.

    Raises:
        ExportError: a difference is above the limit; the message has it.
    """
    for difference in differences:
        if is_half and difference.psnr_db < LEAST_HALF_PSNR_DB:
            raise ExportError(
                f"the export differs from PyTorch ({difference}; {LEAST_HALF_PSNR_DB:.0f} dB are allowed): use fp32"
            )
        if not is_half and difference.largest > MOST_DIFFERENCE:
            raise ExportError(
                f"the export differs from PyTorch ({difference}; {MOST_DIFFERENCE:.0e} is allowed):"
                " try another version of the program that computed it"
            )


def draw_picture(
    size: tuple[int, int, int], channels: int, generator: torch.Generator
) -> Float[Tensor, "b c h w"]:
    """Draw slow changes and a little noise, as pictures have, in [0, 1]."""
    batch, height, width = size
    slow = functional.interpolate(
        torch.rand(batch, channels, 4, 4, generator=generator), (height, width), mode="bilinear"
    )
    return 0.9 * slow + 0.1 * torch.rand(batch, channels, height, width, generator=generator)


def _compare(picture: Float[Tensor, "b c h w"], expected: Restore, found: Restore) -> Difference:
    batch, _, height, width = picture.shape
    with torch.no_grad():
        one, other = expected(picture), found(picture)
    if one.shape != other.shape:
        raise ExportError(
            f"the export makes {tuple(other.shape)} of {tuple(picture.shape)}, PyTorch {tuple(one.shape)}:"
            " try another version of the program that computed it"
        )
    distance = (one.double() - other.double()).abs()
    if not bool(distance.isfinite().all()):
        raise ExportError(f"the export overflows at {height}×{width} pixels: use fp32")
    mean_square = float(distance.square().mean())
    return Difference(
        size=(batch, height, width),
        largest=float(distance.max()),
        psnr_db=-10 * log10(mean_square) if mean_square else inf,
    )
