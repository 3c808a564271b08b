"""A forward pass that another program computes, on any device that it knows."""

from collections.abc import Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine import hardware
from swinir.engine.cost import SAFETY, Cost
from swinir.engine.forward import OnLayers
from swinir.errors import UsageError
from swinir.export import Runtime, choose_device, open_model
from swinir.export.runtimes import Restore, require
from swinir.model import SwinIRConfig
from swinir.model.build import build
from swinir.model.heads import count_enlarged_values
from swinir.options import BackendChoice, Precision, RestorerOptions

RUNTIMES: Mapping[BackendChoice, Runtime] = MappingProxyType(
    {BackendChoice.ONNXRUNTIME: Runtime.ONNXRUNTIME, BackendChoice.OPENVINO: Runtime.OPENVINO}
)
# Side of the tiles on devices that cannot be asked for their memory. Those of an image are all of one size, and the
# network is loaded for that: an NPU takes no other.
TILE_PX = 256
# Sizes that stay loaded there, for images of several sizes.
_MOST_SIZES = 4
_CPU = "cpu"
_NPU = "npu"


class RuntimePass:
    """The network as an ONNX model in another program; batches are given and returned in this one's memory."""

    device = torch.device("cpu")

    @classmethod
    def open(cls, config: SwinIRConfig, state_dict: Mapping[str, Tensor], options: RestorerOptions) -> Self:
        """Write the model and load it.

        Raises:
            UsageError: the device is not here, or has not the precision, or the parameters are another network's.
            MissingPackageError: the program is not installed.
            RestoreError: the program cannot load the network.
        """
        return cls(config, state_dict, options)

    def __init__(
        self, config: SwinIRConfig, state_dict: Mapping[str, Tensor], options: RestorerOptions
    ) -> None:
        runtime = RUNTIMES[options.backend]
        require("onnx", runtime.value, purpose=f"backend {runtime}")
        from swinir.export.onnx_file import build_model  # noqa: PLC0415  onnx is optional

        kind = choose_device(runtime, options.device)
        self.num_layers = sum(config.depths)
        self.precision = _choose_precision(options.precision, runtime, kind)
        self.device_name = kind
        self.backend = runtime.value
        self.reason = f"{runtime.full_name} computes the whole network, because it is asked for"
        self.cost: Cost | None = _estimate_cost(config)
        self.tile_px: int | None = None if kind == _CPU else TILE_PX
        self._parameters = {name: tensor.detach().cpu() for name, tensor in state_dict.items()}
        # Whether the parameters are the network's, building one finds out.
        build(config, self._parameters)
        model = build_model(config, self._parameters, is_half=self.precision is Precision.FP16)
        self._open = partial(
            open_model,
            runtime,
            model.SerializeToString(),
            device=kind,
            threads=torch.get_num_threads() if kind == _CPU else None,
            settings=_find_settings(runtime, kind, self.precision),
        )
        if kind == _CPU:
            restore = self._open()
            self._restore_of = lambda _size: restore
        else:
            self._restore_of = lru_cache(_MOST_SIZES)(lambda size: self._open(size=size))

    def __call__(
        self, lq: Float[Tensor, "b c h w"], on_layers: OnLayers | None = None
    ) -> Float[Tensor, "b c sh sw"]:
        """Run the network; all layers are counted when it is done."""
        batch, _, height, width = lq.shape
        restore: Restore = self._restore_of((batch, height, width))
        restored = torch.from_numpy(restore(lq.numpy()))
        if on_layers is not None:
            on_layers(batch * self.num_layers)
        return restored

    def copy_parameters(self) -> dict[str, Tensor]:
        """Return the network's parameters."""
        return dict(self._parameters)


def _choose_precision(asked: Precision, runtime: Runtime, kind: str) -> Precision:
    """Decide the precision; "auto" is the fastest that keeps the picture on this kind of device."""
    can_bf16 = runtime is Runtime.OPENVINO and kind == _CPU
    match asked:
        case Precision.AUTO if kind != _CPU:
            return Precision.FP16
        case Precision.AUTO:
            is_fast = can_bf16 and hardware.multiplies_bf16(RuntimePass.device)
            return Precision.BF16 if is_fast else Precision.FP32
        case Precision.BF16 if not can_bf16:
            raise UsageError(
                f"{runtime.full_name} does not compute in bf16 on {kind}: choose auto, fp32 or fp16"
            )
        case Precision.FP16 if kind == _CPU:
            raise UsageError("precision fp16 gains nothing on a CPU: choose auto or fp32")
        case _:
            return asked


def _find_settings(runtime: Runtime, kind: str, precision: Precision) -> dict[str, str]:
    """Find what makes OpenVINO compute as asked.

    In half precision the model itself says which products are; the rest must stay in float32, which an NPU does not
    have.
    """
    if runtime is not Runtime.OPENVINO:
        return {}
    if kind.startswith(_NPU):
        return {"INFERENCE_PRECISION_HINT": "f16"}
    return {"INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32"}


def _estimate_cost(config: SwinIRConfig) -> Cost:
    """Count what both programs hold at the worst moment of a layer, and of the reconstruction.

    Peaks of a process on one core, bytes a pixel, counted without the safety and measured: lightweight x4 at 192x192
    7,264: ONNX Runtime 6,350, OpenVINO 7,079; classical x4 at 96x96 20,256: OpenVINO 19,388.
    """
    n, float_bytes = config.window_size**2, 4
    rows = 10 * config.embed_dim
    scores = 3 * max(config.num_heads) * n + n
    enlarged = 2 * count_enlarged_values(config.head_steps)
    values = rows + scores + enlarged
    return Cost(fixed_bytes=0.0, bytes_per_px=SAFETY * float_bytes * values / config.unshuffle**2)
