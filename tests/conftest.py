"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
import torch

# Triton decides when it is first imported, by any test, whether it interprets; without a GPU its tests want that.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded outputs of the published network and metrics, small enough to live in the repository."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The large test sets beside the repository; what needs them is skipped where they are absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the test sets in ../shared")
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Offer a folder of pictures and a recipe for a network that trains in seconds."""
    # Imported here, because most tests train nothing.
    from runs import TINY_VARIANTS, VARIANTS_OF_RECIPES, furnish

    monkeypatch.setattr(VARIANTS_OF_RECIPES, TINY_VARIANTS)
    return furnish(tmp_path)
