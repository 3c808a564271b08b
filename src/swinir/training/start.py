"""What a short run starts from: a reconstruction that already is the best linear one for the features it gets."""

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from swinir.data import Batch
from swinir.model import SwinIR, Upsampler
from swinir.model.convolution import Convolution
from swinir.ops.windows import pad_to_windows

# Weight of the ridge penalty, of the features' mean power: enough for a solution where features are redundant.
RIDGE = 1e-4


def bypass_body(model: SwinIR) -> None:
    """Have an untrained body add nothing, so that the reconstruction sees the shallow features alone."""
    closing = [module for module in model.conv_after_body.modules() if isinstance(module, Convolution)][-1]
    nn.init.zeros_(closing.weight)
    nn.init.zeros_(closing.bias)


@torch.no_grad()
def fit_reconstruction(model: SwinIR, batches: Iterable[Batch]) -> None:
    """Solve for the one convolution of a direct pixel shuffle by ridge regression from features to pixels.

    On the shallow features of an untrained network this is the best linear 5×5 upscaler; on the body of a
    network trained for another scale it is the best head that this body can have before both are trained.

    Raises:
        ValueError: the network's reconstruction is not a single linear layer.
    """
    if model.config.upsampler is not Upsampler.PIXEL_SHUFFLE_DIRECT:
        raise ValueError(
            f"{model.config.upsampler.name} is no linear reconstruction: fit only a direct pixel shuffle"
        )
    convolution = model.get_submodule("upsample.0")
    assert isinstance(convolution, Convolution)
    unknowns = convolution.weight[0].numel() + 1
    moments = torch.zeros(unknowns, unknowns, dtype=torch.float64)
    products = torch.zeros(unknowns, len(convolution.bias), dtype=torch.float64)
    for batch in batches:
        height, width = batch.lq.shape[-2:]
        padded = pad_to_windows(batch.lq, model.config.window_size)
        shallow = model.shallow_features((padded - model.mean) * model.config.image_range)
        features = rearrange(model.deep_features(shallow), "b h w c -> b c h w")
        taps = functional.unfold(features, 3, padding=1).unflatten(2, features.shape[-2:])
        taps = rearrange(taps[..., :height, :width], "b taps h w -> (b h w) taps")
        taps = functional.pad(taps, (0, 1), value=1.0)
        target = (batch.hq - model.mean) * model.config.image_range
        target = rearrange(functional.pixel_unshuffle(target, model.config.scale), "b c h w -> (b h w) c")
        moments += (taps.T @ taps).double().cpu()
        products += (taps.T @ target).double().cpu()
    moments += torch.eye(unknowns, dtype=torch.float64) * RIDGE * moments.diagonal().mean()
    solution = torch.linalg.solve(moments, products).T.to(convolution.weight)
    convolution.weight.copy_(solution[:, :-1].reshape_as(convolution.weight))
    convolution.bias.copy_(solution[:, -1])
