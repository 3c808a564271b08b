"""Inference on a GPU: transformer layers by one Triton kernel, convolutions by PyTorch's, parameters packed once."""

# Triton takes launch options (num_warps) that no kernel declares.
# pyright: reportCallIssue=false

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from swinir.errors import UsageError
from swinir.ops import triton_inference_kernels as kernels
from swinir.ops.convolution import HALF_LIMIT, convolve
from swinir.ops.interface import ConvolutionParameters, LayerGeometry, LayerParameters
from swinir.ops.triton_common import block_size

# Channels that a program multiplies at a time.
CHUNK = 64
# Channels up to which the weights of two heads fit the shared memory of every GPU that has bf16 (99 KiB; Hopper,
# where more goes through it, has 227).
WIDEST_AHEAD = 192
# Finite in fp16: keys that do not exist are masked anyway.
LARGEST_BIAS = 60000.0


def layer_constants(channels: int, hidden_channels: int, geometry: LayerGeometry) -> dict[str, Any]:
    """Give the constants and threads that the kernel is compiled with."""
    return {
        "C": channels,
        "HEADS": geometry.num_heads,
        "WINDOW": geometry.window_size,
        "SHIFT": geometry.shift_size,
        "BLOCK_N": block_size(geometry.window_size**2),
        "BLOCK_D": block_size(channels // geometry.num_heads),
        "CHUNK": CHUNK,
        "CHUNKS": -(-channels // CHUNK),
        "HIDDEN_CHUNKS": -(-hidden_channels // CHUNK),
        "num_warps": 4 if channels <= CHUNK else 8,
        # Loads of the next head's weights run ahead of products where shared memory has room for them.
        "num_stages": 2 if channels <= WIDEST_AHEAD else 1,
        # a · b + c in one instruction. Triton warns where nobody says so, because it is about to change its mind.
        "enable_fp_fusion": True,
    }


class PackedLayer:
    """One transformer layer on the residual stream, packed for products in ``dtype``."""

    def __init__(self, parameters: LayerParameters, geometry: LayerGeometry, dtype: torch.dtype) -> None:
        p = LayerParameters(*(parameter.detach().float() for parameter in parameters))
        channels, hidden_channels, heads = p.proj_weight.shape[0], p.fc1_weight.shape[0], geometry.num_heads
        self._window_size = geometry.window_size
        self._constants = layer_constants(channels, hidden_channels, geometry)
        block_n, block_d = self._constants["BLOCK_N"], self._constants["BLOCK_D"]
        padded, padded_hidden = CHUNK * self._constants["CHUNKS"], CHUNK * self._constants["HIDDEN_CHUNKS"]
        head_dim = channels // heads

        # Queries give scores in units of log2, so that softmax needs nothing but powers of two.
        units = torch.tensor([math.log2(math.e) / head_dim**0.5, 1.0, 1.0], device=p.qkv_weight.device)
        weight, bias = _behind_norm(p.qkv_weight, p.qkv_bias, p.norm1_weight, p.norm1_bias)
        weight = weight.view(3, heads, head_dim, channels) * units[:, None, None, None]
        bias = bias.view(3, heads, head_dim) * units[:, None, None]
        self._qkv_weight = _padded(weight.permute(1, 0, 3, 2), (heads, 3, padded, block_d)).to(dtype)
        self._qkv_bias = _padded(bias.permute(1, 0, 2), (heads, 3, block_d))
        in_log2 = (p.position_bias * math.log2(math.e)).clamp(-LARGEST_BIAS, LARGEST_BIAS)
        in_log2 = _padded(in_log2, (heads, block_n, block_n))
        self._position_bias = in_log2 if dtype is torch.float32 else in_log2.half()
        by_head = p.proj_weight.T.reshape(heads, head_dim, channels)
        self._proj_weight = _padded(by_head, (heads, block_d, padded)).to(dtype)
        self._proj_bias = _padded(p.proj_bias, (padded,))
        weight, bias = _behind_norm(p.fc1_weight, p.fc1_bias, p.norm2_weight, p.norm2_bias)
        self._fc1_weight = _padded(weight.T, (padded, padded_hidden)).to(dtype)
        self._fc1_bias = _padded(bias, (padded_hidden,))
        self._hidden_scale = 1.0
        if dtype is torch.float16:
            # What a norm gives is no longer than the root of its channels, and GELU makes nothing larger.
            bound = (weight.norm(dim=1) * channels**0.5 + bias.abs()).max().item()
            self._hidden_scale = 2.0 ** -max(math.ceil(math.log2(max(bound, 1.0) / HALF_LIMIT)), 0)
        self._fc2_weight = _padded(p.fc2_weight.T / self._hidden_scale, (padded_hidden, padded)).to(dtype)
        self._fc2_bias = _padded(p.fc2_bias, (padded,))

    def __call__(self, x: Float[Tensor, "b h w c"], *, overwrite: bool = False) -> Float[Tensor, "b h w c"]:
        """Compute the layer, into ``x`` itself if that may be overwritten.

        Raises:
            UsageError: ``x`` is no float32 stream of whole windows, or wants gradients.
        """
        batch, height, width, channels = x.shape
        size = self._window_size
        if x.dtype is not torch.float32 or channels != self._constants["C"] or height % size or width % size:
            raise UsageError(
                f"x is {x.dtype} {tuple(x.shape)}, but the layer takes float32 with {self._constants['C']} channels "
                f"in whole windows of {size}"
            )
        if x.requires_grad and torch.is_grad_enabled():
            raise UsageError("what is packed has no gradients: use the layer with which training computes")
        x = x.contiguous()
        y = x if overwrite else torch.empty_like(x)
        windows = batch * (height // size) * (width // size)
        # Triton launches on the current device, whatever device its tensors are on.
        with torch.cuda.device_of(x):
            kernels.layer_forward[(windows,)](
                x, y, self._qkv_weight, self._qkv_bias, self._position_bias, self._proj_weight, self._proj_bias,
                self._fc1_weight, self._fc1_bias, self._fc2_weight, self._fc2_bias,
                height, width, self._hidden_scale, **self._constants,
            )  # fmt: skip
        return y


class PackedConvolution:
    """One convolution on channels-last features, its parameters in the type it computes in.

    The result is float32 where it joins the residual stream or is the image, and features otherwise.
    """

    def __init__(self, parameters: ConvolutionParameters, dtype: torch.dtype) -> None:
        self._dtype = torch.float32 if parameters.keeps_float32 else dtype
        self._weight = parameters.weight.detach().to(self._dtype, memory_format=torch.channels_last)
        self._bias = parameters.bias.detach().to(self._dtype)
        self._negative_slope = parameters.negative_slope

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Compute the convolution plus ``residual``, into ``residual`` itself if that may be overwritten."""
        with torch.autocast(x.device.type, enabled=False):
            convolved = convolve(x, self._weight, self._bias, self._negative_slope)
        if residual is None:
            return convolved
        return residual.add_(convolved) if overwrite else residual + convolved


@dataclass(frozen=True)
class Packer:
    """Packs for products in one type."""

    dtype: torch.dtype

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PackedLayer:
        """Pack a transformer layer."""
        return PackedLayer(parameters, geometry, self.dtype)

    def convolution(self, parameters: ConvolutionParameters) -> PackedConvolution:
        """Pack a convolution."""
        return PackedConvolution(parameters, self.dtype)


def _behind_norm(
    weight: Float[Tensor, "out c"],
    bias: Float[Tensor, " out"],
    norm_weight: Float[Tensor, " c"],
    norm_bias: Float[Tensor, " c"],
) -> tuple[Float[Tensor, "out c"], Float[Tensor, " out"]]:
    """Fold the scale and shift of a norm into the linear layer behind it."""
    return weight * norm_weight, bias + weight @ norm_bias


def _padded(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Extend each dimension by zeros, in memory of its own."""
    missing = [after for size, full in zip(tensor.shape, shape, strict=True) for after in (full - size, 0)]
    return functional.pad(tensor, missing[::-1]).contiguous()
