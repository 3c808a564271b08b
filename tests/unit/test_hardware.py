"""Choosing a device and a precision."""

import pytest
import torch

from swinir.engine import hardware
from swinir.options import Precision

CPU = torch.device("cpu")


def test_device_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.choose_device("auto") == CPU


def test_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.choose_device("auto") == torch.device("cuda")


def test_device_that_was_asked_for_is_taken() -> None:
    assert hardware.choose_device(CPU) == hardware.choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "quantum"])
def test_unknown_device_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="choose auto, cpu, cuda"):
        hardware.choose_device(name)


def test_gpu_that_is_not_here_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"cuda:2.*2 CUDA GPUs"):
        hardware.choose_device("cuda:2")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, Precision.BF16),
        ({"avx512_bf16": False, "amx_bf16": True}, Precision.BF16),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, Precision.FP32),
        ({}, Precision.FP32),
    ],
)
def test_precision_is_bf16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: Precision
) -> None:
    monkeypatch.setattr(hardware, "native_multiplies_bf16", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert hardware.choose_precision("auto", CPU) is precision


def test_precision_is_bf16_where_the_native_library_says_so_and_pytorch_cannot_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "native_multiplies_bf16", lambda: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert hardware.choose_precision("auto", CPU) is Precision.BF16


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((7, 5), Precision.FP32), ((8, 0), Precision.BF16), ((9, 0), Precision.BF16)],
)
def test_precision_is_bf16_on_gpus_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: Precision
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert hardware.choose_precision("auto", torch.device("cuda")) is precision


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_precision_that_was_asked_for_is_taken(name: str) -> None:
    assert hardware.choose_precision(name, CPU) == name


def test_unknown_precision_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'half'.*auto, fp32, bf16, fp16"):
        hardware.choose_precision("half", CPU)


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ValueError, match="choose bf16 or fp32"):
        hardware.choose_precision("fp16", CPU)
    assert hardware.choose_precision("fp16", torch.device("cuda")) is Precision.FP16


def test_all_gpus_are_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert hardware.choose_devices("cuda:all") == [torch.device("cuda", index) for index in range(3)]
    assert hardware.choose_devices("cuda:1") == [torch.device("cuda:1")]
    assert hardware.choose_devices("cpu") == [CPU]


def test_all_gpus_of_a_machine_without_any_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"cuda:all.*0 CUDA GPUs found.*choose auto or cpu"):
        hardware.choose_devices("cuda:all")


def test_all_gpus_where_one_is_wanted_is_an_error_that_says_what_uses_them() -> None:
    with pytest.raises(ValueError, match=r"cuda:all.*only files and folders use.*choose cuda or cuda:N"):
        hardware.choose_device("cuda:all")
