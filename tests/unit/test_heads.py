"""Reconstructions as lists of steps, and what is read off them."""

import pytest
import torch

from swinir.model import VARIANTS, SwinIR, Upsampler
from swinir.model.build import build
from swinir.model.heads import (
    HEADS,
    Convolve,
    Repeat,
    Shuffle,
    count_enlarged_values,
    enlargements,
    last_layer,
    multiply_adds,
    reach_rows,
)

STEPS = (
    Convolve(name="a", in_channels=2, out_channels=3),
    Repeat(2),
    Convolve(name="b", in_channels=3, out_channels=4),
    Shuffle(2),
    Convolve(name="c", in_channels=1, out_channels=5),
)


def test_steps_are_counted_at_the_size_they_work_on() -> None:
    assert [(step.name, side) for step, side in enlargements(STEPS)] == [("a", 1), ("b", 2), ("c", 4)]
    assert multiply_adds(STEPS) == 9 * (2 * 3 + 4 * 3 * 4 + 16 * 1 * 5)
    # One row at the features' size, half a row at twice it, a quarter at four times.
    assert reach_rows(STEPS) == 2
    assert count_enlarged_values(STEPS) == 16
    assert last_layer(STEPS) == "c"


@pytest.mark.parametrize("upsampler", Upsampler)
def test_every_head_makes_pixels_at_each_of_its_scales(upsampler: Upsampler) -> None:
    head = HEADS[upsampler]
    for scale in head.scales:
        channels, side = 8, 1
        for step in head.steps(8, 3, scale):
            if isinstance(step, Convolve):
                assert step.in_channels == channels
                channels = step.out_channels
            elif isinstance(step, Shuffle):
                channels, side = channels // step.factor**2, side * step.factor
            else:
                side *= step.factor
        assert (channels, side) == (3, scale)


def test_a_correction_and_a_direct_shuffle_are_linear() -> None:
    assert [HEADS[upsampler].is_linear for upsampler in Upsampler] == [False, True, False, True]


def test_building_moves_no_generator_and_leaves_the_parameters_alone() -> None:
    config = VARIANTS["lightweight-x2"]
    torch.manual_seed(0)
    drawn = SwinIR(config).eval()
    given = drawn.state_dict()
    before = torch.random.get_rng_state()
    built = build(config, given)
    assert torch.equal(torch.random.get_rng_state(), before)
    image = torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(built(image), drawn(image))
        built.conv_first.weight.zero_()
    assert drawn.conv_first.weight.any()
    assert drawn.conv_first.weight.requires_grad
