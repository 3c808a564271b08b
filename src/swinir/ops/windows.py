"""Windows of an image as pure functions: pad, partition, merge, position index, shift masks.

A window of M×M pixels holds n = M·M tokens in row-major order. An image is [b, h, w, c] with h and w multiples
of M; its windows are [b·(h/M)·(w/M), n, c].
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

# What a token of another region loses before the softmax: exp(-100) is nothing beside exp(0), and it is the
# number the published weights were trained with.
MASKED_SCORE = -100.0


def is_traced() -> bool:
    """Tell whether operations are being recorded for sizes other than this one.

    Then nothing may depend on a size in Python. ``torch.compile`` is another matter: it compiles again where a
    decision of Python falls otherwise.
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def padded_size(size_px: int, window_size: int) -> int:
    """Round a side up to whole windows."""
    return -(-size_px // window_size) * window_size


def mirror_indices(size_px: int, padded_px: int, *, first_px: int = 0) -> list[int]:
    """Positions that continue a side of ``size_px`` by reflection, edge not repeated, as often as needed.

    ``[0, 1, 2]`` padded to 8 reads ``[0, 1, 2, 1, 0, 1, 2, 1]``; a side of one pixel repeats that pixel.
    They are those from ``first_px``, which may be negative, up to ``padded_px``.
    """
    period = max(2 * (size_px - 1), 1)
    return [min(i % period, period - i % period) % size_px for i in range(first_px, padded_px)]


def pad_to_windows(image: Float[Tensor, "b c h w"], window_size: int) -> Float[Tensor, "b c hp wp"]:
    """Extend an image to whole windows at its bottom and right by reflection; any size from 1×1 works."""
    height, width = image.shape[-2:]
    for dim, size_px in ((-2, height), (-1, width)):
        padded_px = padded_size(size_px, window_size)
        if is_traced():
            image = image.index_select(dim, _mirror_positions(size_px, padded_px, image.device))
        elif padded_px != size_px:
            indices = torch.tensor(mirror_indices(size_px, padded_px), device=image.device)
            image = image.index_select(dim, indices)
    return image


def _mirror_positions(size_px: int, padded_px: int, device: torch.device) -> Int[Tensor, " padded"]:
    """Compute ``mirror_indices`` where neither size is a number yet."""
    period = (torch.full((), -2, dtype=torch.int64, device=device) + 2 * size_px).clamp(min=1)
    position = torch.arange(padded_px, device=device) % period
    return torch.minimum(position, period - position)


def crop(image: Float[Tensor, "b c hp wp"], height: int, width: int) -> Float[Tensor, "b c h w"]:
    """Keep the top left corner of an image."""
    if not is_traced():
        return image[..., :height, :width]
    # Of a slice a tracer would have to prove that it ends within the image, whatever the size.
    rows, columns = (torch.arange(size_px, device=image.device) for size_px in (height, width))
    return image.index_select(-2, rows).index_select(-1, columns)


def partition(image: Float[Tensor, "b h w c"], window_size: int) -> Float[Tensor, "windows n c"]:
    """Cut an image into windows, row by row."""
    return rearrange(image, "b (i p) (j q) c -> (b i j) (p q) c", p=window_size, q=window_size)


def merge(windows: Float[Tensor, "windows n c"], height: int, width: int) -> Float[Tensor, "b h w c"]:
    """Put windows back in their places: the inverse of ``partition``."""
    window_size = round(windows.shape[1] ** 0.5)
    rows, columns = height // window_size, width // window_size
    return rearrange(windows, "(b i j) (p q) c -> b (i p) (j q) c", i=rows, j=columns, p=window_size)


def relative_position_index(window_size: int) -> Int[Tensor, "n n"]:
    """Row of the bias table for each pair of tokens: their offset (dy, dx) counted from (1-M, 1-M), row-major."""
    # On the CPU: for arithmetic of outlines, on the device "meta", PyTorch loads its compiler, which takes seconds.
    offsets = torch.arange(window_size, device="cpu")
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy = y[:, None] - y[None, :] + window_size - 1
    dx = x[:, None] - x[None, :] + window_size - 1
    return (dy * (2 * window_size - 1) + dx).to(torch.get_default_device())


def shift_masks(
    window_size: int, shift_size: int, device: torch.device | None = None
) -> Float[Tensor, "2 2 n n"]:
    """Return what is added to shifted windows' scores, by [window in the last row, in the last column].

    After a cyclic shift only the last row and the last column of windows hold pixels from opposite sides of the
    image; there, tokens that were neighbours only by wrapping do not see each other. Every other window needs
    no mask, whatever the size of the image, so these four describe them all.
    """
    wrapped = torch.arange(window_size, device=device) >= window_size - shift_size
    y, x = torch.meshgrid(wrapped, wrapped, indexing="ij")
    y, x = y.flatten(), x.flatten()
    across_rows = y[:, None] ^ y[None, :]
    across_columns = x[:, None] ^ x[None, :]
    nowhere = torch.zeros_like(across_rows)
    hidden = torch.stack(
        [torch.stack([nowhere, across_columns]), torch.stack([across_rows, across_rows | across_columns])]
    )
    return hidden * MASKED_SCORE
