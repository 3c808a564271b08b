"""spandrel, with which chaiNNer, ComfyUI and others open models, where torchvision is not installed.

Two of its networks import three functions of torchvision, which no test calls; and a torchvision of PyPI fits no CPU
build of PyTorch.
"""

import sys
from types import ModuleType

import pytest

_TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
_FUNCTIONS = ("InterpolationMode", "rotate", "normalize")


def import_spandrel() -> ModuleType:
    """Import spandrel; what stands in for torchvision is gone again when it is imported."""
    stubs = {name: ModuleType(name) for name in _TORCHVISION if name not in sys.modules}
    for stub in stubs.values():
        for function in _FUNCTIONS:
            setattr(stub, function, None)
    sys.modules.update(stubs)
    try:
        return pytest.importorskip("spandrel", reason="needs spandrel, which make test installs")
    finally:
        for name in stubs:
            del sys.modules[name]
