"""A network is found in a file whatever its training program put around it, and other networks are named."""

import argparse
import datetime
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from swinir.errors import CheckpointError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import load_checkpoint

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=4,
    depths=(2,),
    num_heads=(2,),
    window_size=2,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
Tensors = dict[str, Tensor]


def weights(seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = SwinIR(CONFIG).state_dict()
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


STATE, OTHER = weights(0), weights(1)


def prefixed(prefix: str, state: Tensors = STATE) -> Tensors:
    return {prefix + name: value for name, value in state.items()}


def compiled(state: Tensors) -> Tensors:
    """Name the parameters as where every residual group was compiled apart."""
    return {
        name.replace(".residual_group.", "._orig_mod.residual_group."): tensor
        for name, tensor in state.items()
    }


WRAPPERS = (
    "params",
    "params_ema",
    "params-ema",
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "netG",
    "generator",
    "ema_model",
)
PREFIXES = (
    "module.",
    "_orig_mod.",
    "netG.",
    "model.",
    "generator.",
    "module._orig_mod.",
    "model.net_g.module.",
)
PLACES: Mapping[str, Callable[[], object]] = {
    **{f"wrapper {name}": lambda name=name: {name: STATE} for name in WRAPPERS},
    **{f"prefix {name}": lambda name=name: prefixed(name) for name in PREFIXES},
    **{f"params and {name}": lambda name=name: {"params": prefixed(name)} for name in PREFIXES},
    "deep": lambda: {"checkpoint": {"model": {"state_dict": STATE}}},
    "compiled groups": lambda: compiled(STATE),
    "Lightning": lambda: {
        "epoch": 3,
        "global_step": 7,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": prefixed("model.") | {"loss.vgg.features.0.weight": torch.zeros(2)},
        "loops": {"fit_loop": {"state_dict": {}}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.zeros(3)}}}],
        "hyper_parameters": {"scale": 2},
    },
    "DiffBIR": lambda: {
        "state_dict": STATE
        | {"lpips_metric.net.slice1.0.weight": torch.zeros(2), "lpips_metric.lin0": torch.ones(1)},
        "lr_schedulers": [],
    },
    "mmagic": lambda: {
        "meta": {"epoch": 1, "experiment": "swinir"},
        "state_dict": prefixed("generator.")
        | {"data_preprocessor.mean": torch.zeros(3), "step_counter": torch.tensor(5)},
        "message_hub": {},
    },
    "average of Lightning": lambda: {"state_dict": prefixed("model.", OTHER) | prefixed("ema_model.")},
    "average of mmagic": lambda: prefixed("generator_ema.") | prefixed("generator.", OTHER),
    "average beside": lambda: {"params": OTHER, "params_ema": STATE, "iter": 5},
    "average of weights": lambda: prefixed("module.") | {"n_averaged": torch.tensor(5)},
    "profiled": lambda: STATE | {"total_ops": torch.zeros(1), "norm.total_params": torch.zeros(1)},
    "mean colour": lambda: STATE | {"mean": torch.zeros(1, 3, 1, 1)},
    "flat with an epoch": lambda: STATE | {"epoch": 3},
    "training state": lambda: {
        "net": STATE,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "step": 3,
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_network_is_found_where_training_programs_put_it(tmp_path: Path, place: str, is_zip: bool) -> None:
    torch.save(PLACES[place](), tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    config, loaded = load_checkpoint(tmp_path / "a.pth")
    assert config == CONFIG
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "beside",
    [
        np.float64(30.0),
        np.int64(3),
        np.arange(3),
        np.random.default_rng(0).bit_generator.state,
        argparse.Namespace(scale=2),
        Path("runs"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        {"best": [np.float32(1.0)]},
        torch.float32,
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_stands_beside_a_network_is_left_out(tmp_path: Path, beside: object) -> None:
    torch.save({"params": STATE, "beside": beside}, tmp_path / "a.pth")
    safe_before = set(torch.serialization.get_safe_globals())
    assert torch.equal(load_checkpoint(tmp_path / "a.pth")[1]["norm.bias"], STATE["norm.bias"])
    assert set(torch.serialization.get_safe_globals()) == safe_before


@pytest.mark.parametrize("module", ["pytorch_lightning.utilities.parsing", "lightning_fabric.utilities.data"])
def test_settings_of_lightning_are_left_out(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = type("AttributeDict", (dict,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
    monkeypatch.setattr(sys.modules[module], "AttributeDict", settings, raising=False)
    content = {"state_dict": prefixed("model."), "hyper_parameters": settings(scale=2, model={"depth": 2})}
    torch.save(content, tmp_path / "a.ckpt")
    assert load_checkpoint(tmp_path / "a.ckpt")[0] == CONFIG


def test_a_number_of_numpy_is_no_weight(tmp_path: Path) -> None:
    torch.save({**STATE, "norm.bias": np.zeros(4, dtype=np.float32)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"'norm.bias' is not a tensor but a"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "generator."])
def test_safetensors_of_others_are_read(tmp_path: Path, prefix: str) -> None:
    save_file(prefixed(prefix), tmp_path / "a.safetensors")
    assert load_checkpoint(tmp_path / "a.safetensors")[0] == CONFIG


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    torch.save(STATE | prefixed("module.", OTHER), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"holds the tensor '.*' twice"):
        load_checkpoint(tmp_path / "a.pth")


def test_dictionaries_that_hold_themselves_end(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": {}}
    content["a"]["b"] = content["self"] = content
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds no SwinIR"):
        load_checkpoint(tmp_path / "a.pth")
