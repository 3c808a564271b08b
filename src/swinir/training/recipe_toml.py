"""Recipes read from TOML, key by key; what is not known is an error that names the nearest."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from swinir.errors import RecipeError
from swinir.training.recipe import Recipe, nearest

Record = TypeVar("Record")
# Tables whose keys are the reader's own, and how they are described.
TABLES: dict[Any, str] = {Mapping[str, Path]: "a table of paths", Mapping[str, Any]: "a table"}


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; ``overrides`` are ``table.key=value``, the value as TOML or as a bare string.

    Raises:
        RecipeError: the file cannot be read, a key is unknown or missing, a value is of the wrong kind.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"cannot read the recipe {path}: {reason}") from error
    for override in overrides:
        _override(tables, override)
    return _record(Recipe, tables, "")


def _override(tables: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"'{override}' changes nothing: write table.key=value, such as data.batch_size=16")
    *path, key = name.strip().split(".")
    table = tables
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"'{part}' in '{override}' is not a table of the recipe")
    table[key] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _record(kind: type[Record], table: object, where: str) -> Record:
    """Build a frozen record from a TOML table, key by key."""
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where} is {table!r}, but must be a table")
    values = cast("Mapping[str, Any]", table)
    hints = get_type_hints(kind)
    known = {item.name: item for item in fields(cast("Any", kind))}
    for key in values:
        if key not in known:
            raise RecipeError(f"unknown key '{_join(where, key)}' in the recipe{nearest(key, known)}")
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise RecipeError(f"the recipe lacks '{_join(where, name)}'")
    return kind(**{key: _convert(hints[key], value, _join(where, key)) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Turn a TOML value into what the record's field wants."""
    if is_dataclass(hint):
        return _record(cast("type[Any]", hint), value, where)
    if hint in TABLES and isinstance(value, Mapping):
        kind, values = get_args(hint)[1], cast("Mapping[str, Any]", value)
        return {
            name: item if kind is Any else _convert(kind, item, _join(where, name))
            for name, item in values.items()
        }
    if hint in (tuple[int, ...], tuple[float, ...]) and isinstance(value, list):
        kind = get_args(hint)[0]
        return tuple(_convert(kind, item, where) for item in cast("list[Any]", value))
    if hint == Path | None:
        hint = Path
    if hint is float and type(value) is int:
        return float(value)
    if hint in (bool, int, float):
        if type(value) is hint:
            return value
    elif isinstance(value, str) and isinstance(hint, type):
        return _convert_text(hint, value, where)
    raise RecipeError(f"{where} is {value!r}, but must be {_described(hint)}")


def _convert_text(hint: Any, value: str, where: str) -> Any:
    try:
        return hint(value)
    except ValueError as error:
        raise RecipeError(f"{where} is '{value}', but must be {_described(hint)}") from error


def _described(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(f"'{member}'" for member in hint)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return (names | TABLES).get(hint, "a list of numbers")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
