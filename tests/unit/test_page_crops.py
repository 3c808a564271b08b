"""Details and gains that a page shows."""

import numpy as np
import pytest

from swinir.evaluation import Observation, Sample
from swinir.evaluation.page.crops import CROP_PX, ERROR_WHITE, MOST_CROPS, CropCollector, color_error
from swinir.evaluation.page.histogram import choose_ticks, count_bins
from unit.test_evaluate import DENOISING, make_figures


def observe(
    collector: CropCollector, name: str, lq: np.ndarray, restored: np.ndarray, hq: np.ndarray
) -> None:
    sample = Sample(name=name, lq=lq, hq=hq)
    collector(Observation(sample=sample, restored=restored, figures=make_figures(name)))


def test_details_are_where_most_is_gained_and_where_most_error_is_left() -> None:
    collector = CropCollector(DENOISING, 1, "tiny")
    hq = np.full((600, 600, 3), 100, np.uint8)
    lq, restored = hq.copy(), hq.copy()
    lq[:CROP_PX, :CROP_PX] += 50
    restored[-CROP_PX:, -CROP_PX:] += 20
    observe(collector, "a", lq, restored, hq)
    (best,), (worst,) = collector.crops.best, collector.crops.worst
    assert (best.top, best.left) == (0, 0)
    assert (worst.top, worst.left) == (600 - CROP_PX, 600 - CROP_PX)
    assert list(best.layers) == ["given", "tiny", "original", "error"]
    assert all(pixels.shape[:2] == (CROP_PX, CROP_PX) for pixels in best.layers.values())


def test_a_few_details_of_many_pictures_are_kept_the_best_first() -> None:
    collector = CropCollector(DENOISING, 1, "tiny")
    hq = np.full((32, 32, 3), 100, np.uint8)
    for index in (3, 0, 5, 1, 4, 2):
        observe(collector, str(index), hq + np.uint8(10 * (index + 1)), hq + np.uint8(1), hq)
    crops = collector.crops
    assert [crop.picture for crop in crops.best] == ["5", "4", "3", "2"]
    assert len(crops.worst) == MOST_CROPS
    assert len(crops.gains_db) == 6


def test_a_gain_is_the_figures_difference() -> None:
    collector = CropCollector(DENOISING, 1, "tiny")
    hq = np.full((32, 32, 3), 100, np.uint8)
    observe(collector, "a", hq + np.uint8(20), hq + np.uint8(2), hq)
    assert collector.crops.gains_db["a"] == pytest.approx(20)


def test_errors_are_dark_where_there_are_none_and_bright_where_they_are_large() -> None:
    painted = color_error(np.array([[0.0, ERROR_WHITE, 4.0 * ERROR_WHITE]])).sum(axis=2)
    assert painted[0, 0] < 50
    assert painted[0, 1] == painted[0, 2] > 600


def test_every_value_is_in_one_bin_of_a_round_width() -> None:
    values = [0.31, 0.33, 0.5, 1.99, -0.2, float("inf")]
    bins = count_bins(values)
    assert sum(bin_.count for bin_ in bins) == 5
    assert len(bins) <= 20
    for bin_ in bins:
        assert sum(bin_.start <= value < bin_.end for value in values) == bin_.count
    assert len(choose_ticks(bins)) <= 6


def test_equal_values_are_one_bin() -> None:
    assert [bin_.count for bin_ in count_bins([0.5, 0.5])] == [2]


def test_nothing_is_no_bin() -> None:
    assert count_bins([float("inf")]) == []
