"""The convolution in plain PyTorch, on every device and in every precision."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Half of the largest number of fp16: sums of products are kept below it.
HALF_LIMIT = 32752.0


def convolve(
    x: Float[Tensor, "b h w c"],
    weight: Float[Tensor, "out c k k"],
    bias: Float[Tensor, " out"],
    negative_slope: float = 1.0,
    *,
    keeps_float32: bool = False,
) -> Float[Tensor, "b h w out"]:
    """Convolve channels-last features, zeros around them, and multiply what is below 0 by ``negative_slope``.

    Products run in autocast's type, or in that of ``weight``; so is the result, except that fp16 gives float32:
    the residual stream may grow beyond fp16's range, and so may what is convolved from it. With ``keeps_float32``
    autocast changes nothing.
    """
    if keeps_float32:
        with torch.autocast(x.device.type, enabled=False):
            return convolve(x, weight, bias, negative_slope)
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    # The rearrangements are views, no memory moves.
    channels_first = rearrange(x, "b h w c -> b c h w")
    if dtype is torch.float16:
        convolved = _convolve_in_half(channels_first, weight, bias)
    else:
        convolved = functional.conv2d(
            channels_first.to(dtype), weight.to(dtype), bias.to(dtype), padding=weight.shape[-1] // 2
        )
    if negative_slope != 1.0:
        convolved = functional.leaky_relu(convolved, negative_slope, inplace=True)
    return rearrange(convolved, "b c h w -> b h w c")


def _convolve_in_half(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "out c k k"], bias: Float[Tensor, " out"]
) -> Float[Tensor, "b out h w"]:
    """Convolve in fp16 what was divided by a power of two, 1 unless that or the result might overflow.

    A result is at most the largest input times the largest sum of weights; nothing waits for that number.
    """
    gain = weight.detach().float().abs().sum(dim=(1, 2, 3)).amax().clamp(min=1.0)
    largest = x.detach().abs().amax().float() * gain
    scale = torch.exp2(torch.log2(largest / HALF_LIMIT).ceil().clamp(min=0.0))
    convolved = functional.conv2d((x / scale).half(), weight.half(), padding=weight.shape[-1] // 2)
    return convolved.float() * scale + bias.float()[:, None, None]
