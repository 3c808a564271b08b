"""The network as it restores: parameters packed once, memory used again, enlarged features made band by band."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.model import SwinIR
from swinir.model.blocks import RSTB, SwinTransformerBlock
from swinir.model.convolution import Convolution
from swinir.model.heads import convolutions
from swinir.model.reconstruction import reconstruct_in_bands
from swinir.ops import Backend, PackedConvolution, PackedTransformerLayer, Packer, PlainPacker

# Called after each transformer layer.
AfterLayer = Callable[[], None]


class PackedConvolutions:
    """The convolutions of a module, one after the other."""

    def __init__(self, packer: Packer, module: nn.Module) -> None:
        self._steps: Sequence[PackedConvolution] = [
            packer.convolution(step.parameters_of_convolution())
            for step in module.modules()
            if isinstance(step, Convolution)
        ]

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Apply all and add ``residual``, in its memory where ``overwrite`` says that nothing else needs it."""
        *first, last = self._steps
        for step in first:
            x = step(x)
        return last(x, residual, overwrite=overwrite)


class PackedRSTB:
    """A residual group: its layers, the convolution behind them, and the residual around both."""

    def __init__(self, packer: Packer, group: RSTB) -> None:
        self._layers: Sequence[PackedTransformerLayer] = [
            packer.layer(block.parameters_of_layer(), block.geometry)
            for block in group.modules()
            if isinstance(block, SwinTransformerBlock)
        ]
        self._convolutions = PackedConvolutions(packer, group.conv)

    def __call__(
        self, x: Float[Tensor, "b h w c"], after_layer: AfterLayer, *, overwrite: bool
    ) -> Float[Tensor, "b h w c"]:
        """Apply it, in the memory of ``x`` where ``overwrite`` says that nothing else needs it."""
        stream = x
        for index, layer in enumerate(self._layers):
            # The group's input is still needed for the residual around it; what a layer made is not.
            stream = layer(stream, overwrite=index > 0)
            after_layer()
        return self._convolutions(stream, x, overwrite=overwrite)


class InferenceNetwork:
    """Computes what ``model`` does, without gradients, on the device of its parameters.

    Parameters are those of now: later changes to them may go unseen. A map of features that nothing else needs is
    written over, and enlarged ones are made band by band, in a part of the memory of the whole.
    """

    @torch.no_grad()
    def __init__(self, model: SwinIR, backend: Backend) -> None:
        packer = backend.packer or PlainPacker(backend.transformer_layer)
        self.model = model
        self.backend = backend
        self.num_layers = sum(model.config.depths)
        self._first = PackedConvolutions(packer, model.conv_first)
        self._groups = [PackedRSTB(packer, group) for group in model.layers if isinstance(group, RSTB)]
        self._after_body = PackedConvolutions(packer, model.conv_after_body)
        self._steps = model.config.head_steps
        self._head = {
            step.name: PackedConvolutions(packer, model.get_submodule(step.name))
            for step in convolutions(self._steps)
        }

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.mean.device

    @torch.no_grad()
    def __call__(
        self, image: Float[Tensor, "b c h w"], after_layer: AfterLayer = lambda: None
    ) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch of images of one size, [0, 1] and not clamped; ``after_layer`` follows the work."""
        normalised = self.model.normalise(image)
        shallow = self._first(self.model.gather_blocks(normalised))
        features = self._deep_features(shallow, after_layer)
        restored = reconstruct_in_bands(
            self._head.__getitem__, self._steps, features, self.model.config.head_scale
        )
        return self.model.denormalise(restored, normalised, size=image.shape[-2:])

    def _deep_features(
        self, shallow: Float[Tensor, "b h w dim"], after_layer: AfterLayer
    ) -> Float[Tensor, "b h w dim"]:
        precise = shallow.to(self.model.norm.weight.dtype)
        stream = self.model.embed(precise)
        for group in self._groups:
            # Without a norm these are the shallow features themselves, which are needed again.
            stream = group(stream, after_layer, overwrite=stream is not precise)
        return self._after_body(self.model.norm(stream), precise, overwrite=True)
