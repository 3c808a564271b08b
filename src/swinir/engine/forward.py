"""One forward pass: a network in a precision."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine import ensemble
from swinir.model import SwinIR
from swinir.options import Precision

# Called with a number of images, for each of which one more transformer layer is done.
OnLayers = Callable[[int], None]


class Forward(Protocol):
    """Restores a batch of images of one size, [b, c, h, w] in [0, 1] on its device, whole.

    ``on_layers`` follows the work. It may be called for several layers at once, with the images of all of them.
    """

    num_layers: int

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Return the restored batch, not clamped."""
        ...


class ForwardPass:
    """The network as it is, without gradients. Grad mode and autocast are set for the calling thread only."""

    def __init__(self, network: SwinIR, precision: Precision) -> None:
        self.network = network
        self.num_layers = sum(network.config.depths)
        self._device_type = network.mean.device.type
        self._dtype = precision.dtype

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Run the network."""
        after_layer = None if on_layers is None else partial(on_layers, lq.shape[0])
        is_low = self._dtype is not torch.float32
        with torch.no_grad(), torch.autocast(self._device_type, dtype=self._dtype, enabled=is_low):
            return self.network(lq, after_layer=after_layer)


class SelfEnsemble:
    """Eight passes, over all flips and rotations, averaged."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.num_layers = ensemble.NUM_SYMMETRIES * forward.num_layers

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Run all eight."""
        return ensemble.average(partial(self._forward, on_layers=on_layers), lq)
