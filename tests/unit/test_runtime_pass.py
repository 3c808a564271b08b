"""Restoring with ONNX Runtime and OpenVINO: the same picture through the same tiles, on devices they name."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from swinir import Restorer, SwinIR, SwinIRConfig, imaging
from swinir.cli.main import main
from swinir.engine import runtime_pass
from swinir.errors import MissingPackageError, RestoreError, UsageError
from swinir.export import Runtime, runtimes

TINY = SwinIRConfig(
    scale=2, in_channels=3, embed_dim=8, depths=(2,), num_heads=(2,), upsampler="pixelshuffledirect"
)


def state_dict() -> Mapping[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SwinIR(TINY).state_dict()


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("backend", Runtime)
@pytest.mark.parametrize("tile", [None, 32])
def test_another_runtime_restores_the_same_picture(backend: Runtime, tile: int | None) -> None:
    expected = Restorer(TINY, state_dict(), backend="reference", precision="fp32", tile=tile)(photo(50, 70))
    restorer = Restorer(TINY, state_dict(), backend=backend.value, precision="fp32", tile=tile)
    restored = restorer(photo(50, 70))
    assert np.abs(restored.astype(int) - expected).max() <= 1
    described = restorer.describe()
    assert (described["backend"], described["device"], described["precision"]) == (backend, "cpu", "fp32")
    assert described["reason"].endswith("computes the whole network, because it is asked for")
    assert np.array_equal(pickle.loads(pickle.dumps(restorer))(photo(50, 70)), restored)


def test_a_large_image_is_cut_by_the_memory_that_a_runtime_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(TINY, state_dict(), backend="onnxruntime")
    cost = restorer.budget.cost
    assert cost is not None
    monkeypatch.setattr("swinir.engine.memory.available_bytes", lambda _: 2 * cost.bytes_for(100 * 100))
    assert restorer.budget.choose(90, 90).plan.num_tiles == 1
    assert restorer.budget.choose(300, 300).plan.num_tiles > 4


def test_progress_counts_the_layers_of_every_tile() -> None:
    seen: list[tuple[int, int]] = []
    restorer = Restorer(TINY, state_dict(), backend="onnxruntime", tile=32)
    restorer(photo(50, 50), progress=lambda done, total: seen.append((done, total)))
    assert seen[0][0] == 0
    num_tiles = restorer.budget.choose(50, 50).plan.num_tiles
    assert num_tiles > 1
    assert seen[-1] == (2 * num_tiles, 2 * num_tiles)


def test_a_runtime_that_lacks_memory_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with runtimes._as_restore_error(Runtime.ONNXRUNTIME, image.shape):
            if image.shape[-1] > 64:
                raise RuntimeError("Failed to allocate memory for requested buffer of size 123")
        return np.zeros((1, 3, 2 * image.shape[-2], 2 * image.shape[-1]), np.float32)

    monkeypatch.setattr(runtime_pass, "open_model", lambda *_, **__: refuse)
    assert Restorer(TINY, state_dict(), backend="onnxruntime")(photo(90, 90)).shape == (180, 180, 3)


def test_what_a_runtime_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with runtimes._as_restore_error(Runtime.OPENVINO, image.shape):
            raise RuntimeError("Exception from src/inference/infer_request.cpp:1:\nShape is not supported\n")

    monkeypatch.setattr(runtime_pass, "open_model", lambda *_, **__: refuse)
    with pytest.raises(
        RestoreError, match=r"OpenVINO cannot restore 24×16 pixels \(Shape is not supported\): use"
    ):
        Restorer(TINY, state_dict(), backend="openvino")(photo(16, 8))


@pytest.mark.parametrize(
    ("device", "backend", "hint"),
    [("npu", "openvino", "f16"), ("gpu.1", "openvino", "f32"), ("dml", "onnxruntime", None)],
)
def test_other_devices_get_fixed_sizes_in_half_precision(
    device: str, backend: str, hint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Any, ...]] = []

    def open_model(
        _: Runtime, model: bytes, *, device: str, threads: int | None, settings: Mapping[str, str], size: Any
    ) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        opened.append((device, threads, settings.get("INFERENCE_PRECISION_HINT"), size))
        return lambda image: np.zeros((1, 3, 2 * image.shape[-2], 2 * image.shape[-1]), np.float32)

    monkeypatch.setattr(runtime_pass, "choose_device", lambda _, name: name)
    monkeypatch.setattr(runtime_pass, "open_model", open_model)
    restorer = Restorer(TINY, state_dict(), backend=backend, device=device)
    assert restorer.describe()["precision"] == "fp16"
    restorer(photo(292, 592))
    restorer(photo(292, 592))
    # Tiles of an image are of one size, at most 256, and are loaded once.
    assert opened == [(device, None, hint, (1, 168, 224))]


@pytest.mark.parametrize(
    ("backend", "device", "precision", "message"),
    [
        (
            "onnxruntime",
            "cpu",
            "bf16",
            "ONNX Runtime does not compute in bf16 on cpu: choose auto, fp32 or fp16",
        ),
        ("openvino", "cpu", "fp16", "fp16 gains nothing on a CPU"),
        ("openvino", "vulkan", "auto", "device 'vulkan' is not here for OpenVINO"),
    ],
)
def test_impossible_choices_are_named(backend: str, device: str, precision: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Restorer(TINY, state_dict(), backend=backend, device=device, precision=precision)


def test_a_missing_runtime_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"backend openvino needs .*pip install onnx openvino"):
        Restorer(TINY, state_dict(), backend="openvino")


def test_parameters_of_another_network_are_refused() -> None:
    wrong = {name: tensor for name, tensor in state_dict().items() if name != "norm.bias"}
    with pytest.raises(ValueError, match="not those of this configuration"):
        Restorer(TINY, wrong, backend="onnxruntime")


def test_the_command_restores_with_another_runtime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imaging.write(imaging.Image(pixels=photo(12, 9)), tmp_path / "in.png")
    words = ["denoise", str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png"), "--backend", "openvino"]
    assert main(words) == 0
    assert "computed by openvino" in capsys.readouterr().err
    assert imaging.read(tmp_path / "out.png").pixels.shape == (12, 9, 3)
