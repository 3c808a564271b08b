"""Where and how precisely to compute: choices made once, with reasons."""

from enum import StrEnum

import torch

from swinir.ops import native_multiplies_bf16

AUTO = "auto"
# Every CUDA GPU of this machine, for many files.
ALL_GPUS = "cuda:all"
# First GPU generation whose multipliers take bf16 (Ampere).
_BF16_CAPABILITY = (8, 0)
# SwinIR-S ×2 on 1000×750 pixels, on one core with avx512_bf16: 117 s in bf16, 203 s in fp32, 64.4 dB apart.
# x86 instructions that multiply bf16. On other processors PyTorch's bf16 has not been measured, so it is
# not chosen.
_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


class Precision(StrEnum):
    """Type that matrix products are computed in; sums between layers are float32 in all of them."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    @property
    def dtype(self) -> torch.dtype:
        """The same as PyTorch names it."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.value]


def choose_device(name: str | torch.device) -> torch.device:
    """Find the device that ``name`` means; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises:
        ValueError: there is no such device here, or several are meant.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == ALL_GPUS:
        raise ValueError(
            f"device {ALL_GPUS!r} means several GPUs, which only files and folders use (swinir upscale, denoise and "
            "dejpeg; in Python choose_devices and restore_files): choose cuda or cuda:N"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown: choose auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = _num_gpus()
        if (device.index or 0) >= count:
            raise ValueError(
                f"device {str(device)!r} is not here ({count} CUDA GPUs found): choose auto or cpu"
            )
    return device


def choose_devices(name: str | torch.device) -> list[torch.device]:
    """Find the devices that ``name`` means: every CUDA GPU for "cuda:all", else the one of ``choose_device``.

    Raises:
        ValueError: there is no such device here.
    """
    if name != ALL_GPUS:
        return [choose_device(name)]
    if _num_gpus() == 0:
        raise ValueError(f"device {ALL_GPUS!r} is not here (0 CUDA GPUs found): choose auto or cpu")
    return [torch.device("cuda", index) for index in range(_num_gpus())]


def _num_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_precision(name: str, device: torch.device) -> Precision:
    """Decide the precision; "auto" is bf16 where the hardware multiplies it natively, else fp32.

    Raises:
        ValueError: the name is unknown, or the device cannot do it.
    """
    if name == AUTO:
        return Precision.BF16 if multiplies_bf16(device) else Precision.FP32
    if name not in list(Precision):
        raise ValueError(f"precision {name!r} is unknown: choose auto, {', '.join(Precision)}")
    if name == Precision.FP16 and device.type == "cpu":
        raise ValueError("precision fp16 gains nothing on a CPU and overflows: choose bf16 or fp32")
    return Precision(name)


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether the hardware multiplies bf16 itself rather than by detours."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY
    if device.type != "cpu":
        return False
    # PyTorch below 2.10 cannot tell what a processor has; the native library can.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return native_multiplies_bf16() or any(capabilities.get(name) is True for name in _BF16_INSTRUCTIONS)
