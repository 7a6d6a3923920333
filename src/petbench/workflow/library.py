"""The entry files of a scale: found by name, merged with their parents and the scale's overrides, checked against closed schemas.

An entry is its file, merged with the scale's override of that name, over its parent (`extends`) resolved the same way;
an entry without a parent also takes the override named `*`. Mappings merge deeply, lists are replaced, null removes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.workflow.modules import module_source
from petbench.workflow.schema import Schema, check, read_yaml, told_of

Entry = dict[str, Any]

KINDS = {
    "scanners": "scanner",
    "datasets": "dataset",
    "methods": "method",
    "experiments": "experiment",
    "psf_sets": "psf_set",
    "predictors": "predictor",
    "torsos": "torso",
    "calibrations": "calibration",
    "classifiers": "classifier",
}
# Files of config/schemas/ whose definitions a schema takes.
SHARED_DEFINITIONS = {
    "psf_sets": ["range"],
    "predictors": ["range", "engine"],
    "torsos": ["range"],
    "calibrations": ["range"],
    "experiments": ["range"],
    "methods": ["engine"],
    "classifiers": ["engine"],
}
NOT_INHERITED = ("title", "citation", "extends")
MEASURED = "size"
"""What a method's entry states of its own network; an ablation has another. The `size` of other kinds is inherited."""


def merge(base: Any, over: Any) -> Any:
    """Merge `over` into `base`: mappings deeply, everything else replaced, null removes the key."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    merged = {key: copy.deepcopy(value) for key, value in base.items() if key not in over}
    for key, value in over.items():
        if value is not None:
            merged[key] = merge(base[key], value) if key in base else _without_nulls(value)
    return merged


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return copy.deepcopy(value)


def sort_keys(value: Any) -> Any:
    """Order mappings by key at every depth, so that equal content compares and hashes equal."""
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list):
        return [sort_keys(item) for item in value]
    return value


@dataclass(frozen=True)
class Library:
    """The entry files found in some folders, and the overrides of one scale."""

    folders: tuple[Path, ...]
    overrides: Mapping[str, Mapping[str, Entry]]
    scale_name: str

    @property
    def resources(self) -> Path:
        """The folder of the papers' printed values."""
        return self.folders[0].parent / "resources" / "published"

    @cached_property
    def files(self) -> dict[str, dict[str, Path]]:
        """Path of each entry file by kind and name; later folders win."""
        return {kind: {path.stem: path for folder in self.folders for path in sorted((folder / kind).glob("*.yaml"))} for kind in KINDS}

    @cached_property
    def schemas(self) -> dict[str, Schema]:
        """The closed schema of each kind."""
        schemas = {kind: read_yaml(self.folders[0] / "schemas" / f"{schema}.yaml") for kind, schema in KINDS.items()}
        # A predictor is trained by the engine that trains methods, and takes its keys.
        train = schemas["methods"]["properties"]["train"]["properties"]
        engine = {key: value for key, value in train.items() if key not in ("domain", "supervision")}
        schemas["predictors"]["properties"]["train"]["properties"] |= engine
        return {kind: self._with_shared(kind, schema) for kind, schema in schemas.items()}

    def _with_shared(self, kind: str, schema: Schema) -> Schema:
        files = [read_yaml(self.folders[0] / "schemas" / f"{name}.yaml") for name in SHARED_DEFINITIONS.get(kind, [])]
        shared = {name: definition for file in files for name, definition in file["$defs"].items()}
        return schema | {"$defs": shared | schema.get("$defs", {})}

    def path(self, kind: str, name: str, asked_by: str) -> Path:
        """Path of an entry's file.

        Raises:
            InputError: there is none; names those that exist.
        """
        if name not in self.files[kind]:
            known = ", ".join(sorted(self.files[kind]))
            raise InputError(f"{asked_by}: there is no {KINDS[kind]} named {name!r}; the {kind} are {known}.")
        return self.files[kind][name]

    def schema(self, kind: str, name: str) -> Schema:
        """The closed schema of one entry; an experiment's goes by its `kind`, and a method's `train` also takes its module's own keys."""
        schema: Schema = self.schemas[kind]
        if kind == "experiments":
            own_kind = self._key("experiments", name, "kind")
            path = self.folders[0] / "schemas" / "experiments" / f"{own_kind}.yaml"
            return self._with_shared(kind, read_yaml(path)) if path.exists() else schema
        if kind == "datasets":
            heads = {name: read_yaml(self.folders[0] / "schemas" / f"{name}.yaml") for name in ("phantom", "brainweb")}
            for head in heads.values():
                del head["$schema"]  # it would have the block checked as a whole one, where nulls remove keys
            return dict(merge(schema, {"properties": heads}))
        module = self._key("methods", name, "module") if kind == "methods" else None
        if module is None:
            return schema
        with told_of(self.files[kind][name]):
            return self.method_schema(module)

    def method_schema(self, module: str) -> Schema:
        """The closed schema of methods of a module.

        Raises:
            InputError: there is no such module.
        """
        own, schema = self.module_schema(module), copy.deepcopy(self.schemas["methods"])
        train = schema["properties"]["train"]
        train["properties"] |= own["properties"]
        train["required"] = [*train.get("required", []), *own.get("required", [])]
        schema["$defs"] = schema.get("$defs", {}) | own.get("$defs", {})
        return schema

    def module_schema(self, module: str) -> Schema:
        """What a module's `train` takes, and what it asks of the rest of an entry.

        That is `together`, a schema of the whole entry, `halvings` of windows, and `optimisers`, those that it trains with.

        Raises:
            InputError: there is no such module; names those that exist.
        """
        path = self.folders[0] / "schemas" / "methods" / f"{module}.yaml"
        if not path.exists():
            if module_source(module) is not None:
                raise InputError(f"module: the module {module!r} has no schema; write {path} with the keys that its `train` takes.")
            known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
            raise InputError(f"module: there is no method module {module!r}; the modules are {known}.")
        return dict(read_yaml(path))

    def _key(self, kind: str, name: str, key: str, seen: tuple[str, ...] = ()) -> str | None:
        """A key that decides the schema, of an entry or of what it extends."""
        if name not in self.files[kind] or name in seen:
            return None
        content = read_yaml(self.files[kind][name])
        if key in content or not isinstance(content.get("extends"), str):
            return str(content[key]) if key in content else None
        return self._key(kind, content["extends"], key, (*seen, name))

    def resolve(self, kind: str, name: str, asked_by: str = "", above: tuple[str, ...] = ()) -> Entry:
        """Resolve one entry.

        Raises:
            InputError: the entry or a parent does not exist, `extends` runs in a circle, or a key is unknown or of the wrong kind.
        """
        path = self.path(kind, name, asked_by or self.scale_name)
        if name in above:
            raise InputError(f"{path}: extends: runs in a circle ({' -> '.join([*above, name])}); cut it.")
        schema = self.schema(kind, name)
        own = read_yaml(path)
        check(own, schema, str(path), partial=True)
        override = self.overrides.get(kind, {}).get(name, {})
        check(override, schema, f"{self.scale_name}: override/{kind}/{name}", partial=True)
        if "extends" in own:
            base = self.resolve(kind, own["extends"], f"{path}: extends", (*above, name))
            own_only = (*NOT_INHERITED, MEASURED) if kind == "methods" else NOT_INHERITED
            base = {key: value for key, value in base.items() if key not in own_only}
            own = {key: value for key, value in own.items() if key != "extends"}
            return dict(merge(merge(base, own), override))
        everywhere = self.overrides.get(kind, {}).get("*", {})
        check(everywhere, self.schemas[kind] | {"additionalProperties": False}, f"{self.scale_name}: override/{kind}/*", partial=True)
        everywhere = {key: value for key, value in everywhere.items() if key in own}
        return dict(merge(merge(_without_nulls(own), everywhere), override))

    def resolve_whole(self, kind: str, name: str, asked_by: str = "") -> Entry:
        """Resolve one entry and check that it has every key that its schema requires."""
        entry = sort_keys(self.resolve(kind, name, asked_by))
        check(entry, self.schema(kind, name), str(self.files[kind][name]))
        return dict(entry)


def check_length(train: Mapping[str, Any], path: Path) -> None:
    """Check that a `train` block says in one way how long it is."""
    if ("steps" in train) == ("epochs" in train):
        raise InputError(f"{path}: train: give either steps or epochs, not both or neither (null removes an inherited key).")


def check_description(description: Mapping[str, Any], config: Path, where: str) -> None:
    """Check what weights say of their training against the schemas of what it was trained as.

    Args:
        description: The fields of `petbench.restoration.weights.Description`.
        config: The folder that holds `schemas/`.
        where: The file of weights; begins the message.

    Raises:
        InputError: a field is missing, unknown, or of the wrong kind.
    """
    library = Library((config,), {}, "")
    check(description, read_yaml(config / "schemas" / "weights.yaml"), where)
    with told_of(where):
        method = library.method_schema(description["module"])
    datasets = library.schemas["datasets"]
    parts: dict[str, Schema] = {
        "train": method["properties"]["train"] | {"$defs": method["$defs"]},
        "preprocess": datasets["properties"]["preprocess"],
        "domain": datasets["properties"]["domains"]["additionalProperties"] | {"required": [], "$defs": datasets["$defs"]},
    }
    for part, schema in parts.items():
        if part in description:
            check(description[part], schema, f"{where}: {part}")
