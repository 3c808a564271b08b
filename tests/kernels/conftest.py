"""Fixtures of the kernels' tests."""

import pytest

from native import LIBRARY, isas
from swinir.ops import native


@pytest.fixture(params=isas())
def packer(request) -> native.Packer:
    return native.Packer(LIBRARY, request.param)
