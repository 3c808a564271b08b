"""Check the training kernels on a GPU against float64, then time a training step of SwinIR-S ×2 in every manner.

    python benchmarks/gpu_training.py [--manners 'NAME;NAME'] [--steps 100] [--profile] [--results FILE]
    TRITON_INTERPRET=1 python benchmarks/gpu_training.py --smoke

The manners are plain PyTorch in the published code's manner, the same compiled in bf16, ours without the fused
kernels, and ours with them: eager, compiled as `swinir train` does it, or captured whole as one CUDA graph. Appends
one line per manner to benchmarks/results/gpu_training.jsonl. ``--smoke`` does the same on a CPU, with a tiny
network in Triton's interpreter and without graphs, so that no hour on a GPU is lost to a slip in this file.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
import triton
from jaxtyping import Float64
from torch import Tensor, nn
from triton import knobs

from swinir.bench.original import ORIGINAL_MANNER
from swinir.data import Batch, CropLoader, PixelStore
from swinir.model import VARIANTS, SwinIR, SwinIRConfig
from swinir.ops import REFERENCE, Backend, LayerParameters, LayerShape, reference, triton_training
from swinir.ops.selfcheck import TOLERANCE, random_layer
from swinir.provenance import read_provenance
from swinir.training.losses import l1
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.training.step import Objective, StepMetrics, StepOptions, train_step

RESULTS = Path(__file__).resolve().parent / "results" / "gpu_training.jsonl"
KERNELS = Backend(name="triton", reason="measured", transformer_layer=triton_training.transformer_layer)
# What the capture of a CUDA graph wants done before, on another stream: kernels compiled, caches filled.
STEPS_BEFORE_CAPTURE = 3
# Batches drawn before the clock starts, taken in turn.
NUM_BATCHES = 4

Step = Callable[[Batch], StepMetrics]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a step is computed."""

    backend: Backend
    is_low: bool = True
    is_compiled: bool = False
    is_captured: bool = False


MANNERS = {
    "swinir, kernels, compiled, captured": Manner(backend=KERNELS, is_compiled=True, is_captured=True),
    "swinir, kernels, captured": Manner(backend=KERNELS, is_captured=True),
    "swinir, kernels, compiled": Manner(backend=KERNELS, is_compiled=True),
    "swinir, kernels": Manner(backend=KERNELS),
    "swinir, reference, compiled": Manner(backend=REFERENCE, is_compiled=True),
    "original, fp32": Manner(backend=ORIGINAL_MANNER, is_low=False),
    "original, compiled, bf16": Manner(backend=ORIGINAL_MANNER, is_compiled=True),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and on what the manners are timed."""

    device: torch.device
    config: SwinIRConfig
    low: torch.dtype
    batch_size: int
    crop_px: int
    compiler: str
    warm_up: int
    steps: int
    samples: int


def on_a_gpu(steps: int) -> Setting:
    """Return the setting that the figures are about: the paper's batch of 32 crops of 64×64 pixels."""
    return Setting(
        device=torch.device("cuda"),
        config=VARIANTS["lightweight-x2"],
        low=torch.bfloat16,
        batch_size=32,
        crop_px=64,
        compiler="inductor",
        warm_up=10,
        steps=steps,
        samples=5,
    )


def smoke() -> Setting:
    """Return one that an interpreter is done with in seconds; it takes bits of bf16 for integers, hence fp16."""
    tiny = replace(VARIANTS["lightweight-x2"], embed_dim=12, depths=(2,), num_heads=(2,))
    return Setting(
        device=torch.device("cpu"),
        config=tiny,
        low=torch.float16,
        batch_size=2,
        crop_px=8,
        compiler="eager",
        warm_up=0,
        steps=1,
        samples=1,
    )


def errors_of(
    shape: LayerShape,
    parameters: LayerParameters,
    x: Float64[Tensor, "b h w c"],
    grad_y: Float64[Tensor, "b h w c"],
    setting: Setting,
) -> dict[str, float]:
    """Return the relative error, against float64, of what a layer of the kernels adds and of every gradient."""
    found: list[list[Tensor]] = []
    for layer, dtype in (
        (reference.transformer_layer, torch.float64),
        (triton_training.transformer_layer, torch.float32),
    ):
        inputs = [value.to(setting.device, dtype).requires_grad_() for value in (x, *parameters)]
        with torch.autocast(setting.device.type, setting.low, enabled=dtype is torch.float32):
            y = layer(inputs[0], LayerParameters(*inputs[1:]), shape.geometry)
        gradients = torch.autograd.grad(y, inputs, grad_y.to(y))
        found.append([(y - inputs[0]).detach(), *gradients])
    names = ("output", "x", *LayerParameters._fields)
    return {
        name: ((mine.double() - right).norm() / right.norm()).item()
        for name, right, mine in zip(names, *found, strict=True)
    }


def check_kernels(setting: Setting) -> None:
    """Print the worst errors of the network's layers, on a small image and on a batch of the training's size.

    Raises:
        SystemExit: one is beyond what the precision explains; nothing is worth timing then.
    """
    generator = torch.Generator().manual_seed(0)
    for shape in sorted(SwinIR(setting.config).layer_shapes(), key=str):
        parameters, *small = random_layer(shape)
        size = (setting.batch_size, setting.crop_px, setting.crop_px, shape.channels)
        large = [torch.randn(*size, generator=generator, dtype=torch.float64) for _ in range(2)]
        for x, grad_y in (small, large):
            errors = errors_of(shape, parameters, x, grad_y, setting)
            worst = max(errors, key=lambda name: errors[name])
            print(f"{shape.geometry} on {tuple(x.shape)}: {worst} is off by {errors[worst]:.2e}", flush=True)
            # NaN is not below anything.
            if not all(error <= TOLERANCE[setting.low] for error in errors.values()):
                raise SystemExit(f"the kernels are wrong: {errors}")


def loader_of(setting: Setting) -> CropLoader:
    """Make crops of pictures of noise, as good as any to a clock."""
    generator = torch.Generator().manual_seed(0)
    side_px = 4 * setting.config.scale * setting.crop_px
    pictures = [
        torch.randint(256, (side_px, side_px, 3), generator=generator, dtype=torch.uint8).numpy()
        for _ in range(4)
    ]
    return CropLoader(
        PixelStore.of(pictures),
        scale=setting.config.scale,
        crop_px=setting.crop_px,
        batch_size=setting.batch_size,
        seed=0,
        device=setting.device,
    )


def step_of(manner: Manner, setting: Setting, example: Batch) -> Step:
    """Build a training step: forward, loss, backward, clipping, Adam, average."""
    # Created for float32, so that it tries no kernels: those to be measured are said below.
    state = TrainState.create(
        setting.config,
        OptimizerRecipe(steps=1000, learning_rate=1e-4),
        seed=0,
        device=setting.device,
        dtype=torch.float32,
    )
    state.model.use_backend(manner.backend)
    state.set_learning_rates(1e-4)
    if manner.is_compiled:
        state.network = cast("nn.Module", torch.compile(state.model, backend=setting.compiler))
    dtype = setting.low if manner.is_low else torch.float32
    options = StepOptions(dtype=dtype, gradient_clip=0.5, ema_decay=0.999)

    def step(batch: Batch) -> StepMetrics:
        return train_step(state, batch, Objective(pixel=l1), options)

    return captured(state, example, step) if manner.is_captured else step


def captured(state: TrainState, example: Batch, step: Step) -> Step:
    """Record ``step`` as one CUDA graph, so that a step is one launch; ``state`` is left as it was."""
    static = Batch(lq=example.lq.clone(), hq=example.hq.clone())
    before = [tensor.clone() for tensor in state.tensors()]
    # Autocast would keep converted weights from one step to the next, and a graph convert them in the first alone.
    torch.set_autocast_cache_enabled(False)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(STEPS_BEFORE_CAPTURE):
            step(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metrics = step(static)
    torch.set_autocast_cache_enabled(True)
    with torch.no_grad():
        for tensor, value in zip(state.tensors(), before, strict=True):
            tensor.copy_(value)

    def replay(batch: Batch) -> StepMetrics:
        static.lq.copy_(batch.lq)
        static.hq.copy_(batch.hq)
        graph.replay()
        return metrics

    return replay


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(manner: Manner, setting: Setting, batches: list[Batch]) -> dict[str, Any]:
    """Time steps, many between two looks at the clock, because a GPU is told of the next before the last is done."""
    # Whoever came before leaves neither memory nor what was compiled for them.
    gc.collect()
    torch.compiler.reset()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    began = time.perf_counter()
    step = step_of(manner, setting, batches[0])
    metrics = step(batches[0])
    first_loss = metrics.loss.item()
    for number in range(setting.warm_up):
        step(batches[number % len(batches)])
    wait_for(setting.device)
    setup_s = time.perf_counter() - began
    samples_ms: list[float] = []
    for _ in range(setting.samples):
        began = time.perf_counter()
        for number in range(setting.steps):
            metrics = step(batches[number % len(batches)])
        wait_for(setting.device)
        samples_ms.append(1000 * (time.perf_counter() - began) / setting.steps)
    return {
        "step_ms": round(median(samples_ms), 3),
        "crops_per_s": round(1000 * setting.batch_size / median(samples_ms), 1),
        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20)
        if setting.device.type == "cuda"
        else None,
        "setup_s": round(setup_s, 1),
        "first_loss": first_loss,
        "last_loss": metrics.loss.item(),
        "samples_ms": [round(sample, 3) for sample in samples_ms],
    }


def profiled(manner: Manner, setting: Setting, batches: list[Batch]) -> str:
    """Tell where three steps spend the GPU's time."""
    step = step_of(manner, setting, batches[0])
    for batch in batches:
        step(batch)
    with torch.profiler.profile() as profile:
        for batch in batches[:3]:
            step(batch)
        wait_for(setting.device)
    by_time = "self_cuda_time_total" if setting.device.type == "cuda" else "self_cpu_time_total"
    return profile.key_averages().table(sort_by=by_time, row_limit=30, max_name_column_width=60)


def main() -> None:
    """Check, then measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manners", help="names, separated by semicolons; all of them unless told")
    parser.add_argument("--steps", type=int, default=50, help="steps between two looks at the clock")
    parser.add_argument("--profile", action="store_true", help="print where each manner spends its time")
    parser.add_argument("--results", type=Path, help="file to append to")
    parser.add_argument("--smoke", action="store_true", help="on a CPU, to try this script")
    asked = parser.parse_args()
    if asked.smoke and not knobs.runtime.interpret:
        parser.error("--smoke is for Triton's interpreter: set TRITON_INTERPRET=1")
    if not asked.smoke and not torch.cuda.is_available():
        parser.error("there is no GPU here: --smoke tries this script without one")
    setting = smoke() if asked.smoke else on_a_gpu(asked.steps)
    names = asked.manners.split(";") if asked.manners else list(MANNERS)
    if unknown := [name for name in names if name not in MANNERS]:
        parser.error(f"there is no manner {unknown[0]!r}: choose among {'; '.join(MANNERS)}")
    if asked.smoke:
        # Without a GPU there is no graph to capture.
        names = [name for name in names if not MANNERS[name].is_captured]
    check_kernels(setting)
    loader = loader_of(setting)
    about = {
        **read_provenance().to_dict(),
        "triton": triton.__version__,
        "device": torch.cuda.get_device_name() if setting.device.type == "cuda" else "cpu",
        "batch": [setting.batch_size, setting.crop_px, setting.crop_px],
        "loader_crops_per_s": round(loader.crops_per_s()),
    }
    batches = [loader.batch(step) for step in range(NUM_BATCHES)]
    results = asked.results or (None if asked.smoke else RESULTS)
    for name in names:
        manner = MANNERS[name]
        # A training run is exact to the bit, which costs what it costs.
        is_exact = manner.backend is not ORIGINAL_MANNER
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=is_exact):
            line = {"manner": name, **measured(manner, setting, batches), **about}
        print(json.dumps(line), flush=True)
        if results:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if asked.profile:
            print(profiled(manner, setting, batches), flush=True)


if __name__ == "__main__":
    main()
