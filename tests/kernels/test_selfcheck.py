"""The self-check finds kernels that are wrong or fail, and passes those that are right."""

import pytest
import torch

from swinir.ops import LayerGeometry, LayerShape, reference

pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")

from swinir.ops import selfcheck, triton_inference, triton_training

CPU = torch.device("cpu")
SHAPES = [
    LayerShape(
        channels=12,
        hidden_channels=24,
        geometry=LayerGeometry(num_heads=2, window_size=4, shift_size=shift),
    )
    for shift in (0, 2)
]


class Wrong(triton_inference.Packer):
    """Packs layers without their position bias."""

    def layer(self, parameters, geometry):
        return super().layer(
            parameters._replace(position_bias=torch.zeros_like(parameters.position_bias)), geometry
        )


class Unshifted(triton_inference.Packer):
    """Forgets that windows are shifted."""

    def layer(self, parameters, geometry):
        return super().layer(parameters, LayerGeometry(num_heads=2, window_size=4, shift_size=0))


def test_kernels_that_are_right_pass():
    packer, layer, dtype = (
        triton_inference.Packer(torch.float16),
        triton_training.transformer_layer,
        torch.float16,
    )
    assert selfcheck.check_inference_kernels(packer, SHAPES, CPU, dtype) is None
    assert selfcheck.check_training_kernels(layer, SHAPES[1:], CPU, dtype) is None


@pytest.mark.parametrize("packer", [Wrong, Unshifted])
def test_kernels_that_are_wrong_are_found(packer):
    problem = selfcheck.check_inference_kernels(packer(torch.float16), SHAPES, CPU, torch.bfloat16)
    assert "failed their self-check (output is off by" in problem


def test_wrong_gradients_are_found():
    def without_bias_gradient(x, parameters, geometry, drop_path_scales=None):
        fixed = parameters._replace(
            position_bias=2 * parameters.position_bias - parameters.position_bias.detach()
        )
        return reference.transformer_layer(x, fixed, geometry, drop_path_scales)

    problem = selfcheck.check_training_kernels(without_bias_gradient, SHAPES, CPU, torch.bfloat16)
    assert "gradient of position_bias is off by 1 of its norm" in problem


def test_a_layer_that_ignores_drop_path_is_found():
    def certain(x, parameters, geometry, drop_path_scales=None):
        return reference.transformer_layer(x, parameters, geometry)

    problem = selfcheck.check_training_kernels(certain, SHAPES, CPU, torch.bfloat16)
    assert "failed their self-check (output is off by" in problem


def test_not_a_number_is_wrong():
    class Nothing(triton_inference.Packer):
        def layer(self, parameters, geometry):
            return lambda x: x * torch.nan

    assert "off by nan" in selfcheck.check_inference_kernels(
        Nothing(torch.float16), SHAPES, CPU, torch.float16
    )


def test_kernels_that_fail_are_named_with_their_error():
    def failing(x, parameters, geometry, drop_path_scales=None):
        raise RuntimeError("out of resource: shared memory\nHint: smaller blocks")

    problem = selfcheck.check_training_kernels(failing, SHAPES, CPU, torch.float16)
    assert (
        problem == "the fused kernels failed their self-check (RuntimeError: out of resource: shared memory)"
    )


def test_the_self_check_draws_from_a_generator_of_its_own():
    before = torch.random.get_rng_state()
    selfcheck.random_layer(SHAPES[0])
    assert torch.equal(torch.random.get_rng_state(), before)
