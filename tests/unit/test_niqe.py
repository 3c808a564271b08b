"""NIQE, against figures that were made with the reference statistics, and by its properties."""

from pathlib import Path

import numpy as np
import pytest

from swinir import imaging
from swinir.errors import DataError
from swinir.evaluation.niqe import NiqeModel, _fit_asymmetric_gaussian, load_niqe_model, niqe


@pytest.fixture(scope="module")
def model() -> NiqeModel:
    """Statistics with the right shapes, of nothing."""
    window = np.outer(*[np.exp(-(np.arange(-3.0, 4.0) ** 2) / 2)] * 2)
    return NiqeModel(mean=np.ones(36), covariance=np.eye(36), window=window / window.sum())


def test_a_gaussian_is_recognised_as_one() -> None:
    values = np.random.default_rng(0).normal(0, 3, (400, 400))
    shape, left, right = _fit_asymmetric_gaussian(values)
    assert shape == pytest.approx(2, abs=0.05)
    # The width of a generalized Gaussian of shape 2 is the deviation times the root of 2.
    assert left == pytest.approx(3 * 2**0.5, rel=0.02)
    assert right == pytest.approx(left, rel=0.02)


def test_sides_of_different_width_are_told_apart() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, (300, 300)))
    values[:, ::2] *= -3
    _, left, right = _fit_asymmetric_gaussian(values)
    assert left / right == pytest.approx(3, rel=0.05)


def test_grey_in_one_channel_is_measured_by_its_values(model: NiqeModel) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 200, 1), dtype=np.uint8)
    assert niqe(picture, model) == niqe(picture[:96, :192], model)


def test_a_picture_of_one_patch_is_refused(model: NiqeModel) -> None:
    with pytest.raises(DataError, match="190×191 pixels is too small for NIQE"):
        niqe(np.zeros((191, 190, 3), np.uint8), model)


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", mu_pris_param=np.ones(36))
    with pytest.raises(DataError, match=r"other\.npz holds no statistics"):
        load_niqe_model(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.npz holds no statistics"):
        load_niqe_model(tmp_path / "text.npz")
    with pytest.raises(DataError, match="there is no NIQE file"):
        load_niqe_model(tmp_path / "missing.npz")


def test_statistics_of_another_size_are_refused(tmp_path: Path) -> None:
    small = {"mu_pris_param": np.ones(5), "cov_pris_param": np.eye(5), "gaussian_window": np.eye(7)}
    np.savez(tmp_path / "small.npz", **small)
    with pytest.raises(DataError, match="36 features"):
        load_niqe_model(tmp_path / "small.npz")


# By this code with the reference statistics; their mean over all 25 pictures of RealSRSet is 7.56, as measured
# elsewhere with the same statistics.
@pytest.mark.parametrize(("name", "expected"), [("chip", 7.839), ("comic1", 8.715), ("building", 8.601)])
def test_bicubic_enlargements_have_their_figures(shared: Path, name: str, expected: float) -> None:
    reference = load_niqe_model(shared / "niqe" / "niqe_pris_params.npz")
    pixels = imaging.read(shared / "testsets" / "RealSRSet" / f"{name}.png").pixels
    assert niqe(imaging.resize_bicubic(pixels, 4), reference) == pytest.approx(expected, abs=2e-3)
