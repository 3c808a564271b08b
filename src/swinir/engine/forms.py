"""Forms that pictures have in Python besides arrays of uint8, uint16 and float32: each becomes one, and back."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import torch
from einops import rearrange
from numpy.typing import NDArray

from swinir import imaging

# What a result is turned into before it is returned.
GiveBack = Callable[[Any], Any]
# Modes of Pillow whose arrays are pictures as they are; others become one of them first.
_PILLOW_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "F")
_MOST_CHANNELS = 4
_OTHER_FLOATS = {np.float64, np.float16}


def unwrap(given: Any) -> tuple[imaging.Image | NDArray[Any], GiveBack]:
    """Turn a picture into an ``imaging.Image`` or an array, [H, W] or [H, W, C].

    A Pillow image of a mode that is not restored as it is (palette, bilevel, CMYK) becomes grey, RGB or RGBA. A
    tensor is [C, H, W], or [H, W, C] where the first side is no number of channels, or [H, W]. Arrays of bool are
    black and white, those of float64 and float16 are computed in float32.

    Returns:
        The picture, and what makes the given form of a result; that of bool is uint8.

    Raises:
        TypeError: it is no picture.
    """
    if isinstance(given, imaging.Image):
        return given, _keep
    if isinstance(given, PIL.Image.Image):
        return _unwrap_pillow(given)
    if isinstance(given, torch.Tensor):
        return _unwrap_tensor(given)
    if isinstance(given, np.ndarray):
        return _unwrap_array(given)
    raise TypeError(
        f"a picture is a numpy array, a tensor, a Pillow image or a swinir.imaging.Image, got {type(given).__name__}"
    )


def _keep(result: Any) -> Any:
    return result


def _unwrap_array(array: NDArray[Any]) -> tuple[NDArray[Any], GiveBack]:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255), _keep
    if array.dtype.type in _OTHER_FLOATS:
        return array.astype(np.float32), partial(np.ndarray.astype, dtype=array.dtype)
    return array, _keep


def _unwrap_tensor(tensor: torch.Tensor) -> tuple[NDArray[Any], GiveBack]:
    is_planar = tensor.ndim == 3 and 1 <= len(tensor) <= _MOST_CHANNELS
    placed = rearrange(tensor, "c h w -> h w c") if is_planar else tensor
    # NumPy has no bfloat16.
    values = placed.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        values = values.float()
    array, give_array_back = _unwrap_array(values.numpy())

    def give_back(result: NDArray[Any]) -> torch.Tensor:
        restored = torch.from_numpy(give_array_back(result))
        if is_planar:
            restored = rearrange(restored, "h w c -> c h w")
        dtype = restored.dtype if tensor.dtype == torch.bool else tensor.dtype
        return restored.contiguous().to(tensor.device, dtype)

    return array, give_back


def _unwrap_pillow(picture: PIL.Image.Image) -> tuple[NDArray[Any], GiveBack]:
    info = {name: value for name, value in picture.info.items() if name in {"icc_profile", "dpi", "exif"}}
    if picture.mode not in _PILLOW_MODES:
        has_alpha = picture.has_transparency_data
        is_grey = picture.mode == "1"
        picture = picture.convert("L" if is_grey else "RGBA" if has_alpha else "RGB")
    mode = picture.mode

    def give_back(result: NDArray[Any]) -> PIL.Image.Image:
        restored = PIL.Image.fromarray(result)
        restored.info |= info
        return restored

    array = np.asarray(picture)
    return (array.astype(np.uint16) if mode == "I;16" else array), give_back
