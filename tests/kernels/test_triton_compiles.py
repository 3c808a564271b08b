"""What Triton and the assembler make of the GPU kernels: they fit a GPU, in registers, and multiply on tensor cores.

Compiled ahead of time, without a GPU, by ``benchmarks/gpu_compile.py``: the kernels, types and constants that layers
launch. That no kernel computes anything wrong is for the interpreter and for a GPU to say.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")

from triton.runtime.jit import KernelInterface

from swinir.ops import triton_inference_kernels, triton_training_kernels

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_compile.py"
# SwinIR-S launches every kernel, SwinIR-M those that are not only for it with other constants.
RUNS = [
    pytest.param("--variants lightweight-x2,lightweight-jpeg --targets 90", id="S-sm_90"),
    pytest.param("--variants classical-x4,color-jpeg --targets 90 --shifted", id="M-sm_90"),
    pytest.param(
        "--variants lightweight-x2,classical-x4 --targets 80 --shifted", id="sm_80", marks=pytest.mark.slow
    ),
]
# What one program may have. An A100 has 163 KiB, but GeForce cards of its generation and the next have 99.
SHARED_BYTES = {"sm_90": 227 * 1024, "sm_80": 99 * 1024}
# Bytes that a thread of a kernel spills at most; of what is not named here, none. On Hopper's 256 threads they are
# 32 KiB, an eighth of the first cache. Ampere's products in ``norm_qkv_backward`` are repeated by half of the warps.
SPILLED_BYTES = {
    ("sm_90", "proj_mlp_backward"): 128,
    ("sm_90", "attention_backward"): 64,
    ("sm_80", "proj_mlp_backward"): 160,
    ("sm_80", "proj_mlp_forward"): 64,
    ("sm_80", "norm_qkv_backward"): 640,
    ("sm_80", "layer_forward"): 400,
}


@cache
def needs_of(options: str) -> list[dict[str, Any]]:
    """Compile in a process that does not interpret and that a warning ends; read what each kernel needs."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *options.split()],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kernel_is_compiled():
    kernels = {
        name
        for module in (triton_training_kernels, triton_inference_kernels)
        for name, value in vars(module).items()
        if isinstance(value, KernelInterface)
        and not name.startswith("_")
        and value.fn.__module__ == module.__name__
    }
    assert {needs["kernel"] for needs in needs_of(RUNS[0].values[0])} == kernels


@pytest.mark.parametrize("options", RUNS)
def test_programs_fit_in_shared_memory(options):
    too_large = [
        needs for needs in needs_of(options) if needs["shared_bytes"] > SHARED_BYTES[needs["target"]]
    ]
    assert too_large == []


@pytest.mark.parametrize("options", RUNS)
def test_what_is_computed_stays_in_registers(options):
    spilled = [
        needs
        for needs in needs_of(options)
        if needs["spilled_bytes"] > SPILLED_BYTES.get((needs["target"], needs["kernel"]), 0)
    ]
    assert spilled == []


@pytest.mark.parametrize("options", RUNS)
def test_products_are_those_of_tensor_cores(options):
    products = {"sm_90": "wgmma", "sm_80": "mma"}
    assert [n for n in needs_of(options) if n["products"] != products[n["target"]]] == []
