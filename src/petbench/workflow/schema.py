"""Checks of entries against closed JSON Schemas, with errors a user can act on."""

import copy
import difflib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from petbench.errors import InputError

Schema = dict[str, Any]


@cache
def _read(path: Path) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file (once a process).

    Raises:
        InputError: the file is missing or is not YAML.
    """
    return copy.deepcopy(_read(path.resolve()))


@contextmanager
def told_of(where: str | Path) -> Iterator[None]:
    """Begin the message of an `InputError` with the file, or the file and key, that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def check(content: Any, schema: Schema, where: str, partial: bool = False) -> None:
    """Check `content` against `schema`.

    Args:
        content: What was read from YAML.
        schema: A JSON Schema (draft 2020-12).
        where: The file, or the file and key, that `content` came from; begins the message.
        partial: Accept missing keys and nulls (which remove a key when entries are merged).

    Raises:
        InputError: one line with the key, the reason and the mend; numbers must be finite.
    """
    for path, number in _numbers(content):
        if not math.isfinite(number):
            raise InputError(f"{where}: {'/'.join(path) + ': ' if path else ''}{number} is not a finite number; give one.")
    validator = (_Partial if partial else jsonschema.Draft202012Validator)(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(content))
    if error is not None:
        key = "/".join(str(part) for part in error.absolute_path)
        raise InputError(f"{where}: {key + ': ' if key else ''}{_sentence(error)}")


def _numbers(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every floating-point number in `content`, with the keys that lead to it."""
    if isinstance(content, float):
        yield path, content
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from _numbers(value, (*path, str(key)))


def _sentence(error: jsonschema.ValidationError) -> str:
    schema: Any = error.schema
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known), key=str)[0]
        close = difflib.get_close_matches(str(unknown), known, n=1)
        mend = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(known)}."
        return f"unknown key {unknown!r}; {mend}"
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        missing = [key for key in required if key not in error.instance]
        return f"key {missing[0]!r} is missing; add it."
    message = " ".join(error.message.split())[:200]
    if isinstance(error.instance, str) and error.validator == "type" and _is_number(error.instance):
        message += f"; YAML reads this as text, write {float(error.instance)!r} with a decimal point and a signed exponent, as in 1.0e-4"
    description = schema.get("description") if isinstance(schema, dict) else None
    return f"{message}; it means: {description}" if description else f"{message}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _skip_null(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def wrapped(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if instance is not None:
            yield from function(validator, value, instance, schema) or ()

    return wrapped


_Partial: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {name: _skip_null(function) for name, function in jsonschema.Draft202012Validator.VALIDATORS.items()}
    | {keyword: lambda *_: iter(()) for keyword in ("required", "dependentRequired", "if")},  # these hold for whole entries only
)
