"""Fixtures of the kernels' tests."""

import pytest

from native import LIBRARY, isas
from swinir.ops import cpu


@pytest.fixture(params=isas())
def packer(request) -> cpu.Packer:
    return cpu.Packer(LIBRARY, request.param)
