"""What a run starts from: another network's parameters, and the best linear reconstruction for them."""

from collections.abc import Iterable, Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from swinir.data import Batch
from swinir.errors import UsageError
from swinir.model import SwinIR
from swinir.model.convolution import Convolution
from swinir.model.heads import last_layer

# Weight of the ridge penalty, of the features' mean power: enough for a solution where features are redundant.
RIDGE = 1e-4


TABLE_SUFFIX = "relative_position_bias_table"


def parameters_that_fit(origin: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Choose what a network can take from another: tensors of the same name and shape.

    Of a larger window's position biases, the middle: those of the offsets that the smaller window has.
    """
    fitting: dict[str, Tensor] = {}
    for name, value in origin.items():
        if name not in own:
            continue
        is_table = name.endswith(TABLE_SUFFIX) and value.shape[1] == own[name].shape[1]
        offered = middle_of_table(value, own[name].shape[0]) if is_table else value
        if offered.shape == own[name].shape:
            fitting[name] = offered
    return fitting


def middle_of_table(table: Float[Tensor, "offsets heads"], num_offsets: int) -> Float[Tensor, "fewer heads"]:
    """Cut a square of offsets, [(2w - 1)², heads], to the ``num_offsets`` in its middle; a smaller one stays."""
    side, wanted = round(table.shape[0] ** 0.5), round(num_offsets**0.5)
    cut = max(side - wanted, 0) // 2
    square = rearrange(table, "(y x) heads -> y x heads", y=side)
    return rearrange(square[cut : side - cut, cut : side - cut], "y x heads -> (y x) heads")


def bypass_body(model: SwinIR) -> None:
    """Have an untrained body add nothing, so that the reconstruction sees the shallow features alone."""
    closing = [module for module in model.conv_after_body.modules() if isinstance(module, Convolution)][-1]
    nn.init.zeros_(closing.weight)
    nn.init.zeros_(closing.bias)


@torch.no_grad()
def fit_reconstruction(model: SwinIR, batches: Iterable[Batch]) -> None:
    """Solve for a reconstruction of one convolution by ridge regression from features to pixels.

    On the shallow features of an untrained network this is the best linear 5×5 filter; on the body of a network
    trained for another task it is the best head that this body can have before both are trained.

    Raises:
        UsageError: the network's reconstruction is not a single linear layer.
    """
    if not model.config.head.is_linear:
        raise UsageError(
            f"{model.config.upsampler.name} is no linear reconstruction: fit a direct pixel shuffle, or none"
        )
    convolution = model.get_submodule(last_layer(model.config.head_steps))
    assert isinstance(convolution, Convolution)
    unknowns = convolution.weight[0].numel() + 1
    moments = torch.zeros(unknowns, unknowns, dtype=torch.float64)
    products = torch.zeros(unknowns, len(convolution.bias), dtype=torch.float64)
    for batch in batches:
        height, width = batch.lq.shape[-2:]
        shallow = model.shallow_features(model.normalise(batch.lq))
        features = rearrange(model.deep_features(shallow), "b h w c -> b c h w")
        taps = functional.unfold(features, 3, padding=1).unflatten(2, features.shape[-2:])
        taps = rearrange(taps[..., :height, :width], "b taps h w -> (b h w) taps")
        taps = functional.pad(taps, (0, 1), value=1.0)
        # Without an upsampler the network adds what it computes to what it was given.
        target = (
            batch.hq - (batch.lq if model.config.head.adds_input else model.mean)
        ) * model.config.image_range
        target = rearrange(functional.pixel_unshuffle(target, model.config.scale), "b c h w -> (b h w) c")
        moments += (taps.T @ taps).double().cpu()
        products += (taps.T @ target).double().cpu()
    moments += torch.eye(unknowns, dtype=torch.float64) * RIDGE * moments.diagonal().mean()
    solution = torch.linalg.solve(moments, products).T.to(convolution.weight)
    convolution.weight.copy_(solution[:, :-1].reshape_as(convolution.weight))
    convolution.bias.copy_(solution[:, -1])
