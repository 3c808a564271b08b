"""The eight-fold self-ensemble."""

import torch

from swinir.engine import ensemble


def picture() -> torch.Tensor:
    return torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)


def test_turning_back_undoes_every_symmetry() -> None:
    for symmetry in range(ensemble.NUM_SYMMETRIES):
        turned = ensemble.turn(picture(), symmetry)
        assert torch.equal(ensemble.turn_back(turned, symmetry), picture())


def test_the_eight_symmetries_are_eight_different_pictures() -> None:
    square = torch.arange(16.0).reshape(1, 1, 4, 4)
    turned = {
        tuple(ensemble.turn(square, symmetry).flatten().tolist())
        for symmetry in range(ensemble.NUM_SYMMETRIES)
    }
    assert len(turned) == 8


def test_average_of_an_equivariant_function_is_that_function() -> None:
    assert torch.allclose(ensemble.average(lambda x: 2 * x + 1, picture()), 2 * picture() + 1)


def test_average_makes_a_function_equivariant() -> None:
    def leaning(x: torch.Tensor) -> torch.Tensor:
        return x + torch.linspace(0, 1, x.shape[-1]) * x.roll(1, dims=-1)

    averaged = ensemble.average(leaning, picture())
    turned = ensemble.average(leaning, ensemble.turn(picture(), 5))
    assert torch.allclose(turned, ensemble.turn(averaged, 5))
    assert not torch.allclose(leaning(ensemble.turn(picture(), 5)), ensemble.turn(leaning(picture()), 5))


def test_average_of_an_enlarging_function_has_the_enlarged_size() -> None:
    enlarged = ensemble.average(lambda x: x.repeat_interleave(3, -1).repeat_interleave(3, -2), picture())
    assert enlarged.shape == (2, 3, 12, 15)
