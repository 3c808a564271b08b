"""The models released by the authors of the paper, read from ``released.toml`` when they are first asked for."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from swinir.model import VARIANTS
from swinir.weights.records import Figures, Model, Origin, Task


@cache
def released_models() -> Mapping[str, Model]:
    """List the released models by name."""
    text = resources.files("swinir.weights").joinpath("released.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    release = table["release"]
    return MappingProxyType({name: _model(name, values, release) for name, values in table["model"].items()})


def _model(name: str, values: Mapping[str, Any], release: Mapping[str, str]) -> Model:
    """Make the record of one table; a key that no record has is a TypeError, which the tests would see."""
    own = dict(values)
    figures = {data: Figures(*numbers) for data, numbers in own.pop("figures", {}).items()}
    return Model(
        name=name,
        task=Task(own.pop("task")),
        scale=VARIANTS[own["variant"]].scale,
        origin=Origin.PUBLISHED,
        url=f"{release['url']}/{own['file']}",
        licence=release["licence"],
        figures=MappingProxyType(figures),
        **own,
    )
