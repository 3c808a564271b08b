"""Fixtures of the kernels' tests."""

from collections.abc import Iterator

import numpy as np
import pytest

from native import LIBRARY, isas
from swinir.ops import native


@pytest.fixture(params=isas())
def packer(request) -> native.Packer:
    return native.Packer(LIBRARY, request.param)


@pytest.fixture(autouse=True)
def _floating_point_stays_as_it_was() -> Iterator[None]:
    """A long double is computed by the x87, whose registers a kernel may leave taken: LAPACK then gives NaN."""
    yield
    assert np.longdouble(1) / np.longdouble(4) + np.longdouble(2) == 2.25
