"""Checks of entries against closed JSON Schemas, with errors a user can act on."""

import copy
import difflib
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from petbench.errors import InputError

Schema = dict[str, Any]


DEEPEST, MOST = 100, 1_000_000
"""How deep and how large the content of a file may be; aliases count as often as they are named."""


@cache
def _read(path: Path) -> Any:
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions, or remove it.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:  # the second of dates and numbers that there are none of
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend it.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys; write them as `key: value`, a line each.")
    check_size(content, str(path))
    return content


def read_yaml(path: Path) -> Any:
    """Read a YAML file of keys and values (once a process).

    Raises:
        InputError: the file is missing, is not YAML in UTF-8, holds no mapping, or one without end.
    """
    return copy.deepcopy(_read(path.resolve()))


def check_size(content: Any, where: str) -> None:
    """Check that content ends: an alias of YAML may name what it is part of, or itself a thousand thousand times.

    Raises:
        InputError: it does not, or is deeper or larger than any entry.
    """
    sizes: dict[int, int] = {}

    def size(value: Any, depth: int) -> int:
        if not isinstance(value, dict | list):
            return 1
        if depth > DEEPEST:
            raise InputError(f"{where}: is nested more than {DEEPEST} deep, or an alias names what it is part of; flatten it.")
        if id(value) not in sizes:
            sizes[id(value)] = 1 + sum(size(one, depth + 1) for one in (value.values() if isinstance(value, dict) else value))
        return sizes[id(value)]

    if size(content, 0) > MOST:
        raise InputError(f"{where}: its aliases stand for more than {MOST} values; write fewer.")


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
    validator = (_Partial if partial else _Whole)(schema)
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


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    """`pattern` of JSON Schema, whose `$` is the end alone; Python's is before a last line break as well."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _skip_null(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def wrapped(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if instance is not None:
            yield from function(validator, value, instance, schema) or ()

    return wrapped


_Whole: Any = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
_Partial: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    _Whole,
    {name: _skip_null(function) for name, function in _Whole.VALIDATORS.items()}
    | {keyword: lambda *_: iter(()) for keyword in ("required", "dependentRequired", "if")},  # these hold for whole entries only
)
