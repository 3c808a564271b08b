"""Check the GPU kernels against float64 and time a training step in every manner.

python benchmarks/gpu_training.py [--profile] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from swinir.bench.original import ORIGINAL_MANNER
from swinir.data import Batch
from swinir.model import VARIANTS
from swinir.ops import REFERENCE, Backend, LayerGeometry, LayerParameters, gpu, reference
from swinir.training.losses import l1
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.training.trainer import StepMetrics, StepOptions, train_step

DEVICE = torch.device("cuda")
# What a CUDA graph's capture asks for before it: steps on a side stream that compile kernels and fill caches.
CAPTURE_WARMUP_STEPS = 2


def check_layer(
    channels: int, heads: int, window: int, shift: int, shape: tuple[int, int, int]
) -> dict[str, float]:
    """Return the worst relative error of output and gradients in bf16 and fp32 products against float64."""
    generator = torch.Generator(DEVICE).manual_seed(channels + shift)
    tokens = window * window

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, device=DEVICE, dtype=torch.float64) * 0.2

    sizes = [(channels,), (channels,), (3 * channels, channels), (3 * channels,), (heads, tokens, tokens)]
    sizes += [(channels, channels), (channels,), (channels,), (channels,), (2 * channels, channels)]
    sizes += [(2 * channels,), (channels, 2 * channels), (channels,)]
    exact = LayerParameters(*(draw(*size).requires_grad_() for size in sizes))
    x = (5 * draw(*shape, channels)).requires_grad_()
    grad = draw(*shape, channels)
    geometry = LayerGeometry(num_heads=heads, window_size=window, shift_size=shift)
    y = reference.transformer_layer(x, exact, geometry)
    y.backward(grad)
    errors = {}
    for dtype in (torch.float32, torch.bfloat16):
        ours = LayerParameters(*(p.detach().float().requires_grad_() for p in exact))
        x_low = x.detach().float().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype is torch.bfloat16):
            y_low = gpu.transformer_layer(x_low, ours, geometry)
        y_low.backward(grad.float())
        pairs = [
            (y_low, y),
            (x_low.grad, x.grad),
            *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True)),
        ]
        errors[str(dtype)] = max(((a.double() - b).norm() / b.norm()).item() for a, b in pairs)
    return errors


def captured(
    state: TrainState, example: Batch, step: Callable[[Batch], StepMetrics]
) -> Callable[[Batch], StepMetrics]:
    """Record ``step`` as one CUDA graph, so that a step costs one launch; ``state`` is left as it was."""
    static = Batch(lq=example.lq.clone(), hq=example.hq.clone())
    before = [tensor.clone() for tensor in state.tensors()]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CAPTURE_WARMUP_STEPS):
            step(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Autocast must not keep converted weights from one replay to the next.
    torch.set_autocast_cache_enabled(False)
    with torch.cuda.graph(graph):
        metrics = step(static)
    with torch.no_grad():
        torch._foreach_copy_(state.tensors(), before)

    def replay(batch: Batch) -> StepMetrics:
        static.lq.copy_(batch.lq)
        static.hq.copy_(batch.hq)
        graph.replay()
        return metrics

    return replay


def step_function(manner: str, state: TrainState, batch: Batch) -> Callable[[Batch], StepMetrics]:
    """Build one training step in the named manner."""
    is_low = "bf16" in manner
    options = StepOptions(
        dtype=torch.bfloat16 if is_low else torch.float32, gradient_clip=1.0, ema_decay=0.999
    )
    backend = {
        "original": ORIGINAL_MANNER,
        "reference": REFERENCE,
        "gpu": Backend(name="gpu", reason="benchmark", transformer_layer=gpu.transformer_layer),
    }
    state.model.use_backend(backend[manner.partition("-")[0]])
    if "compile" in manner:
        state.model.forward = torch.compile(state.model.forward, dynamic=False)

    def step(batch: Batch) -> StepMetrics:
        return train_step(state, batch, l1, options)

    return captured(state, batch, step) if "graph" in manner else step


def time_steps(step: Callable[[Batch], StepMetrics], batch: Batch, num_steps: int) -> float:
    """Return the median seconds of a step."""
    for _ in range(5):
        step(batch)
    times = []
    for _ in range(num_steps):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        step(batch)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return sorted(times)[len(times) // 2]


def main() -> None:
    """Print one line per check and per manner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--manners", default="gpu-bf16,gpu-bf16-graph,reference-bf16,original-fp32,original-bf16-compile"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    for case in [
        (60, 6, 8, 0, (2, 64, 64)),
        (60, 6, 8, 4, (2, 64, 64)),
        (60, 6, 8, 4, (1, 8, 24)),
        (180, 6, 8, 4, (1, 32, 40)),
        (180, 6, 7, 3, (1, 21, 35)),
    ]:
        print("layer", *case, check_layer(*case), flush=True)
    generator = torch.Generator(DEVICE).manual_seed(0)
    recipe = OptimizerRecipe(steps=100, learning_rate=1e-4)
    lq = torch.rand(options.batch, 64, 64, 3, device=DEVICE, generator=generator).permute(0, 3, 1, 2)
    hq = torch.rand(options.batch, 128, 128, 3, device=DEVICE, generator=generator).permute(0, 3, 1, 2)
    batch = Batch(lq=lq, hq=hq)
    for manner in options.manners.split(","):
        state = TrainState.create(VARIANTS["lightweight-x2"], recipe, seed=0, device=DEVICE)
        began = time.time()
        torch.cuda.reset_peak_memory_stats()
        step = step_function(manner, state, batch)
        seconds = time_steps(step, batch, 20)
        row = {
            "manner": manner,
            "step_ms": round(seconds * 1000, 3),
            "crops_per_s": round(options.batch / seconds),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
            "setup_s": round(time.time() - began, 1),
            "loss": step(batch).loss.item(),
        }
        results.append(row)
        print(row, flush=True)
        if options.profile and manner == "gpu-bf16":
            with torch.profiler.profile() as profile:
                for _ in range(3):
                    step(batch)
                torch.cuda.synchronize()
            print(
                profile.key_averages().table(
                    sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=60
                )
            )
        del state, step
        torch.cuda.empty_cache()
    if options.json:
        options.json.write_text(
            json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": results})
        )


if __name__ == "__main__":
    main()
