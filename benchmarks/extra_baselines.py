"""Baselines beyond those of ``swinir bench``, for the scripts in this folder: RCAN, kept masks, no CUDA graphs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from types import MappingProxyType

import rcan
import torch
from jaxtyping import Float
from torch import Tensor

from swinir.bench import BASELINES, BuildMethod, Method, Workload, baselines, original
from swinir.bench.workload import build_network
from swinir.engine.executor import choose_executor
from swinir.ops import Backend, LayerGeometry, LayerParameters, reference
from swinir.options import Precision


@lru_cache(maxsize=4)
def keep_mask(
    height: int, width: int, geometry: LayerGeometry, device: torch.device
) -> Float[Tensor, "windows n n"]:
    """Build a mask once for each size, as some users of the published code do."""
    return original.attention_mask(height, width, geometry).to(device)


def transformer_layer_with_kept_mask(
    x: Float[Tensor, "b h w c"],
    parameters: LayerParameters,
    geometry: LayerGeometry,
    drop_path_scales: Float[Tensor, "b 2"] | None = None,
) -> Float[Tensor, "b h w c"]:
    """Compute one layer in the published code's manner, but each mask is built once."""
    attention = partial(original.window_attention, make_mask=keep_mask)
    return reference.transformer_layer(x, parameters, geometry, drop_path_scales, attention=attention)


KEPT_MASKS = Backend(
    name="original-manner-kept-masks",
    reason="the published code's way but for its masks, for comparison",
    transformer_layer=transformer_layer_with_kept_mask,
)


def original_with_kept_masks(workload: Workload) -> Method:
    """Compute in the published code's manner, with the masks of this size kept."""
    return Method(
        name="original-kept-masks",
        settings="PyTorch eager, the published code's manner, its masks kept",
        precision=Precision.FP32,
        multiply_adds=workload.multiply_adds,
        restore=baselines.run_eagerly(build_network(workload, KEPT_MASKS), Precision.FP32),
    )


def ours_without_graphs(workload: Workload) -> Method:
    """Run our own network as ``Restorer`` does, but launch every kernel: on a GPU equal passes are replayed else."""
    restorer = workload.restorer
    executor = choose_executor(restorer.device, restorer.forward_pass, records=False)
    return replace(
        baselines.ours(workload),
        name="swinir-no-graphs",
        settings=f"Restorer, {restorer.describe()['backend']}, no CUDA graphs",
        restore=executor.run,
    )


def rcan_with_random_weights(workload: Workload) -> Method:
    """Run RCAN of the same scale, eager and channels-last: in bf16 on a GPU, else in float32.

    Raises:
        ValueError: the workload's network does not enlarge.
    """
    scale = workload.restorer.scale
    if scale == 1:
        raise ValueError(f"rcan enlarges, and {workload.restorer.name} does not: leave rcan out")
    config = rcan.RCANConfig(scale=scale, in_channels=workload.restorer.config.in_channels)
    with torch.random.fork_rng(devices=[]):
        network = rcan.RCAN(config)
    # PyTorch declares no such overload of Module.to, but documents it.
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network = network.to(workload.image.device)
    precision = Precision.BF16 if workload.image.device.type == "cuda" else Precision.FP32
    return Method(
        name="rcan",
        settings=f"RCAN ×{scale} in PyTorch eager, channels last, random weights",
        precision=precision,
        multiply_adds=len(workload.image) * rcan.multiply_adds(config, *workload.image.shape[-2:]),
        restore=baselines.run_eagerly(network, precision),
        is_same_network=False,
    )


ALL_BASELINES: Mapping[str, BuildMethod] = MappingProxyType(
    {
        **BASELINES,
        "original-kept-masks": original_with_kept_masks,
        "rcan": rcan_with_random_weights,
        "swinir-no-graphs": ours_without_graphs,
    }
)
