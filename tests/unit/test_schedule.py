"""The learning rate at chosen steps, worked out by hand."""

import pytest

from swinir.training.recipe import Decay, OptimizerRecipe
from swinir.training.schedule import learning_rate


def test_cosine_starts_at_the_rate_halves_in_the_middle_and_ends_at_nothing():
    optimizer = OptimizerRecipe(steps=600, learning_rate=8e-4)
    assert learning_rate(0, optimizer) == pytest.approx(8e-4)
    assert learning_rate(300, optimizer) == pytest.approx(4e-4)
    # (1 + cos 60°) / 2 = 3/4 and (1 + cos 120°) / 2 = 1/4
    assert learning_rate(200, optimizer) == pytest.approx(6e-4)
    assert learning_rate(400, optimizer) == pytest.approx(2e-4)
    assert 0 < learning_rate(599, optimizer) < 8e-4 * 1e-5


def test_warm_up_climbs_in_equal_steps_and_never_from_zero():
    optimizer = OptimizerRecipe(
        steps=1000, learning_rate=1.0, warmup_steps=4, decay=Decay.MILESTONES, milestones=(900,)
    )
    rates = [learning_rate(step, optimizer) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_milestones_halve_from_their_own_step_on():
    optimizer = OptimizerRecipe(
        steps=500, learning_rate=2e-4, decay=Decay.MILESTONES, milestones=(250, 400, 450)
    )
    steps = (0, 249, 250, 399, 400, 450, 499)
    expected = [2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 2.5e-5, 2.5e-5]
    assert [learning_rate(step, optimizer) for step in steps] == pytest.approx(expected)


def test_the_rate_is_never_negative_and_falls_after_the_warm_up():
    optimizer = OptimizerRecipe(steps=57, learning_rate=1e-3, warmup_steps=5)
    rates = [learning_rate(step, optimizer) for step in range(57)]
    assert min(rates) > 0
    assert rates[5:] == sorted(rates[5:], reverse=True)
