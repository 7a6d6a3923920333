"""Methods by name, and their parts from blocks of an entry."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import petbench.methods
from petbench.errors import InputError
from petbench.methods.base import Restorer

Part = TypeVar("Part")
SHARED = {"base", "build", "adversarial", "cycle", "diffusion", "edm", "synthesis"}


def modules() -> list[str]:
    """Names of the modules that define a method: those of this package that do not only serve others."""
    found = (module.name for module in pkgutil.iter_modules(petbench.methods.__path__))
    return sorted(set(found) - SHARED)


def build(module: str, train: Mapping[str, Any]) -> Restorer:
    """The method of an entry, freshly initialised from torch's random state.

    Args:
        module: The entry's `module`.
        train: The entry's block `train`.

    Raises:
        InputError: no such module, or a part of the block does not fit it.
    """
    if module not in modules():
        raise InputError(f"module: there is no method {module!r}; choose one of {', '.join(modules())}.")
    restorer: Restorer = importlib.import_module(f"petbench.methods.{module}").build(train)
    return restorer


def construct(part: Callable[..., Part], train: Mapping[str, Any], block: str, **given: Any) -> Part:
    """Call `part` with the keys of `train[block]` and with what is `given`.

    Raises:
        InputError: a key is missing or is not a parameter of the part.
    """
    keys = dict(train.get(block) or {})
    allowed = {name for name in inspect.signature(part).parameters if name not in given}
    if unknown := sorted(keys.keys() - allowed):
        raise InputError(f"train/{block}: {unknown[0]!r} is unknown; choose from {', '.join(sorted(allowed))}.")
    if missing := sorted(allowed - keys.keys()):
        raise InputError(f"train/{block}: {missing[0]!r} is missing; add it.")
    return part(**keys, **given)


def twice(part: Callable[..., Part], train: Mapping[str, Any], block: str, **given: Any) -> tuple[Part, Part]:
    """Two of a part, see `construct`, each with a start of its own."""
    return construct(part, train, block, **given), construct(part, train, block, **given)
