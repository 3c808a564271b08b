"""One forward pass: a network in a precision."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine import ensemble, hardware, memory
from swinir.engine.cost import Cost
from swinir.engine.inference import InferenceNetwork
from swinir.model import SwinIRConfig
from swinir.model.build import build
from swinir.ops import request_backend, select_backend
from swinir.options import Precision, RestorerOptions

# Called with a number of images, for each of which one more transformer layer is done.
OnLayers = Callable[[int], None]


@runtime_checkable
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


@runtime_checkable
class NetworkPass(Forward, Protocol):
    """A forward pass, and what computes it.

    Attributes:
        device: of the batches that are given and returned.
        precision: of matrix products.
        device_name: what computes, for people.
        backend: name of the program or the kernels.
        reason: why it is these.
        cost: what a pass takes of the memory of ``device``, where it cannot be traced.
        tile_px: side of the tiles that suit what computes; None leaves it to the memory.
    """

    device: torch.device
    precision: Precision
    device_name: str
    backend: str
    reason: str
    cost: Cost | None
    tile_px: int | None

    def copy_parameters(self) -> dict[str, Tensor]:
        """Return the network's parameters on the CPU."""
        ...


class ForwardPass:
    """The network as it is, without gradients. Grad mode and autocast are set for the calling thread only."""

    cost: Cost | None = None
    tile_px: int | None = None

    def __init__(self, network: InferenceNetwork, precision: Precision) -> None:
        self.network = network
        self.num_layers = network.num_layers
        self.precision = precision
        self.device = network.device
        self.device_name = str(self.device)
        self.backend = network.backend.name
        self.reason = network.backend.reason

    @classmethod
    def open(cls, config: SwinIRConfig, state_dict: Mapping[str, Tensor], options: RestorerOptions) -> Self:
        """Build the network on its device, with the fastest backend that is right there.

        Raises:
            UsageError: a choice is impossible here, or the parameters are not those of ``config``.
            RestoreError: the network does not fit the device's memory.
        """
        device = hardware.choose_device(options.device)
        precision = hardware.choose_precision(options.precision, device)
        with memory.oom_as_restore_error(device):
            model = build(config, state_dict).to(device)
            # With its number: which GPU is current may change.
            device = model.mean.device
            request = request_backend(options.backend, device, os.environ)
            backend = select_backend(device, precision.dtype, model.layer_shapes(), request)
            return cls(InferenceNetwork(model, backend), precision)

    def copy_parameters(self) -> dict[str, Tensor]:
        """Return the network's parameters on the CPU."""
        return {name: tensor.cpu() for name, tensor in self.network.model.state_dict().items()}

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Run the network."""
        dtype = self.precision.dtype
        is_low = dtype is not torch.float32
        with torch.autocast(self.device.type, dtype=dtype, enabled=is_low):
            if on_layers is None:
                return self.network(lq)
            return self.network(lq, after_layer=partial(on_layers, lq.shape[0]))


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
