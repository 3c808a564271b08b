"""Where and how precisely to compute: choices made once, with reasons."""

import torch

from swinir.errors import UsageError
from swinir.ops import native_multiplies_bf16
from swinir.options import Precision, parse_choice

AUTO = "auto"
# Every CUDA GPU of this machine, for many files.
ALL_GPUS = "cuda:all"
# First GPU generation whose multipliers take bf16 (Ampere).
_BF16_CAPABILITY = (8, 0)
# SwinIR-S ×2 on 1000×750 pixels, on one core with avx512_bf16: 117 s in bf16, 203 s in fp32, 64.4 dB apart.
# x86 instructions that multiply bf16. On other processors PyTorch's bf16 has not been measured, so it is
# not chosen.
_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def choose_device(name: str | torch.device) -> torch.device:
    """Find the device that ``name`` means; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises:
        UsageError: there is no such device here, or several are meant.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == ALL_GPUS:
        raise UsageError(
            f"device {ALL_GPUS!r} means several GPUs, which only files and folders use (swinir upscale, denoise and "
            "dejpeg; in Python choose_devices and restore_files): choose cuda or cuda:N"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown: choose auto, cpu, cuda or cuda:N") from error
    count = _num_devices(device.type)
    if count is None:
        raise UsageError(
            f"device {str(device)!r} is none that networks compute on: choose auto, cpu, cuda or cuda:N"
        )
    if (device.index or 0) >= count:
        kind = "CPUs" if is_cpu(device) else f"{device.type.upper()} GPUs"
        raise UsageError(f"device {str(device)!r} is not here ({count} {kind} found): choose auto or cpu")
    return device


def choose_devices(name: str | torch.device) -> list[torch.device]:
    """Find the devices that ``name`` means: every CUDA GPU for "cuda:all", else the one of ``choose_device``.

    Raises:
        UsageError: there is no such device here.
    """
    if name != ALL_GPUS:
        return [choose_device(name)]
    count = _num_devices("cuda") or 0
    if count == 0:
        raise UsageError(f"device {ALL_GPUS!r} is not here (0 CUDA GPUs found): choose auto or cpu")
    return [torch.device("cuda", index) for index in range(count)]


def _num_devices(kind: str) -> int | None:
    """Count the devices of a kind that are here; None for kinds that only hold tensors, or compute too little."""
    match kind:
        case "cpu":
            return 1
        case "cuda":
            return torch.cuda.device_count() if torch.cuda.is_available() else 0
        case "mps":
            return int(torch.backends.mps.is_available())
        case "xpu":
            return torch.xpu.device_count() if torch.xpu.is_available() else 0
        case _:
            return None


def choose_precision(name: str, device: torch.device) -> Precision:
    """Decide the precision; "auto" is bf16 where the hardware multiplies it natively, else fp32.

    Raises:
        UsageError: the name is unknown, or the device cannot do it.
    """
    precision = parse_choice(Precision, name, "precision")
    if precision is Precision.AUTO:
        return Precision.BF16 if multiplies_bf16(device) else Precision.FP32
    if precision is Precision.FP16 and is_cpu(device):
        raise UsageError("precision fp16 gains nothing on a CPU and overflows: choose bf16 or fp32")
    return precision


def is_cpu(device: torch.device) -> bool:
    """Tell whether a device is the processor itself."""
    return device.type == "cpu"


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether the hardware multiplies bf16 itself rather than by detours."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY
    if not is_cpu(device):
        return False
    # PyTorch below 2.10 cannot tell what a processor has; the native library can.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return native_multiplies_bf16() or any(capabilities.get(name) is True for name in _BF16_INSTRUCTIONS)
