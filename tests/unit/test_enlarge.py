"""Sizes that no model makes by itself."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from giants import one_layer
from swinir import imaging
from swinir.engine import Enlarger, Restorer, TargetSize
from swinir.engine.enlarge import choose_passes
from swinir.errors import UsageError
from swinir.imaging import Image
from swinir.jobs import Outcome, estimate_work, plan_jobs, restore_files


class Repeater(Restorer):
    """Stands for a Restorer: repeats pixels."""

    def __init__(self, times: int) -> None:
        self.times, self.name, self.device = times, f"repeat-{times}", torch.device("cpu")

    @property
    def scale(self) -> int:
        return self.times

    def __call__(self, image: Any, progress: Any = None) -> Any:
        for done in range(3):
            if progress is not None:
                progress(done, 2)
        if isinstance(image, Image):
            alpha = None if image.alpha is None else self(image.alpha)
            return image.with_pixels(self(image.pixels), alpha)
        return image.repeat(self.times, axis=0).repeat(self.times, axis=1)


def enlarger(**size: Any) -> Enlarger:
    return Enlarger(TargetSize(**size), models={times: Repeater(times) for times in (2, 3, 4)})


@pytest.mark.parametrize(
    ("factor", "passes"),
    [
        ("0.5", ()),
        ("1", ()),
        ("1.01", (2,)),
        ("2", (2,)),
        ("3.5", (4,)),
        ("4", (4,)),
        ("5", (2, 3)),
        ("8", (2, 4)),
        ("9", (3, 3)),
        ("16", (4, 4)),
        ("17", (2, 3, 3)),
        ("64", (4, 4, 4)),
    ],
)
def test_passes_are_the_fewest_that_are_just_enough(factor: str, passes: tuple[int, ...]) -> None:
    assert choose_passes(Fraction(factor), (2, 3, 4)) == passes


def test_more_than_three_passes_are_refused() -> None:
    with pytest.raises(UsageError, match="×2 is less"):
        choose_passes(Fraction(9), (2,))


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ({"scale": 1.5}, (30, 45)),
        ({"scale": Fraction(4, 3)}, (27, 40)),
        ({"scale": 6}, (120, 180)),
        ({"width": 100}, (67, 100)),
        ({"height": 100}, (100, 150)),
        ({"width": 100, "height": 40}, (40, 60)),
        ({"max_side": 31}, (21, 31)),
        ({"max_side": 30}, (20, 30)),
        ({"max_side": 15}, (10, 15)),
    ],
)
def test_a_picture_gets_the_size_that_is_asked_for(size: Any, shape: tuple[int, int]) -> None:
    pixels = np.full((20, 30, 3), 77, np.uint8)
    alpha = np.full((20, 30), 200, np.uint8)
    large = enlarger(**size)(Image(pixels=pixels, alpha=alpha))
    assert large.alpha is not None
    assert large.pixels.shape == (*shape, 3)
    assert large.alpha.shape == shape == enlarger(**size).output_size(20, 30)
    assert (large.pixels == 77).all()
    assert (large.alpha == 200).all()


def test_a_reduction_averages_what_it_leaves_out() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (8, 20))
    reduced = enlarger(max_side=10)(stripes)
    assert np.abs(reduced[:, 1:-1].astype(int) - 127).max() <= 4


def test_floats_stay_within_their_range() -> None:
    edge = np.zeros((20, 20), np.float32)
    edge[:, 10:] = 1
    large = enlarger(scale=1.5)(edge)
    assert large.min() == 0
    assert large.max() == 1


def test_progress_goes_from_nothing_to_all_over_all_passes() -> None:
    told: list[tuple[int, int]] = []
    enlarger(scale=8)(np.zeros((4, 4), np.uint8), lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == [0, 100, 200, 200, 600, 1000]
    assert {total for _, total in told} == {1000}


@pytest.mark.parametrize(
    "size", [{}, {"scale": 1}, {"scale": 65}, {"scale": 2, "width": 9}, {"width": 0}, {"max_side": -1}]
)
def test_a_size_that_is_unclear_or_impossible_is_refused(size: Any) -> None:
    with pytest.raises(UsageError):
        TargetSize(**size)


@pytest.mark.parametrize(
    ("size", "label"),
    [
        ({"scale": Fraction(3, 2)}, "x1.5"),
        ({"scale": 2}, "x2"),
        ({"width": 3840, "height": 2160}, "3840x2160"),
        ({"width": 9}, "w9"),
        ({"height": 9}, "h9"),
        ({"max_side": 9}, "max9"),
    ],
)
def test_a_size_has_a_name_for_files(size: Any, label: str) -> None:
    assert TargetSize(**size).label == label


def test_settings_are_the_same_before_and_behind_the_first_picture() -> None:
    enlarger = Enlarger(TargetSize(scale=1.5), models={2: "lightweight-x2"}, device="cpu")
    before = enlarger.settings
    assert [restorer.name for restorer in enlarger.passes(8, 8)] == ["lightweight-x2"]
    assert enlarger.settings == before


def test_a_scale_that_no_model_reaches_is_refused_before_any_picture() -> None:
    with pytest.raises(UsageError, match="×9 is asked for"):
        Enlarger(TargetSize(scale=9), models={2: one_layer()})


def test_a_picture_that_is_too_small_for_the_size_costs_no_other(tmp_path: Path) -> None:
    for name, side in (("icon", 10), ("photo", 40)):
        imaging.write(imaging.Image(pixels=np.zeros((side, side, 3), np.uint8)), tmp_path / f"{name}.png")
    enlarger = Enlarger(TargetSize(width=120), models={2: one_layer()})
    plan = plan_jobs([tmp_path], output=tmp_path / "out", label="120")
    estimate_work(plan, [enlarger], clock=lambda: 0.0)
    icon, photo = restore_files(enlarger, plan)
    assert (icon.outcome, photo.outcome) == (Outcome.FAILED, Outcome.DONE)
    assert "of a picture of 10 × 10 pixels ×12 is asked for" in str(icon.error)
