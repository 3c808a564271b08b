"""The native library is part of an installation where it can be compiled."""

import shutil

import pytest

from swinir.ops import native


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiler_gives_a_library_for_any_processor_of_its_kind() -> None:
    library = native.load_library()
    assert not isinstance(library, str), f"{library}; pip install -v -e . shows what the compiler said"
    assert library.isas()[-1].name == "portable"
