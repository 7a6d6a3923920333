"""What a table was made from: version and hash of the code, configuration, seeds, checksums of the data."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import petbench
from petbench.files import checksum, digest


def provenance(configuration: Mapping[str, Any], code: Mapping[str, str], names: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """Gather it.

    Args:
        configuration: Resolved entries that the table depends on, by kind and name.
        code: Hash of the code of each stage, see `petbench.workflow.code`.
        names: What each file is called in the record: data set, subject and kind. Paths are left out: they may tell more than a label does.
        files: The data that the table comes from.

    Returns:
        JSON-like: `petbench` and `revision` (null outside a checkout) at the time of writing, `code` by stage, `configuration` (its hash),
        `seeds` by key, `data` (SHA-256 by name).
    """
    return {
        "petbench": version("petbench"),
        "revision": revision(Path(petbench.__file__).parent),
        "code": dict(code),
        **sources(configuration, names, files),
    }


def sources(configuration: Mapping[str, Any], names: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """The part of a record that the code has no say in: `configuration`, `seeds` and `data`, as in `provenance`."""
    return {
        "configuration": digest(configuration),
        "seeds": dict(_seeds(configuration)),
        "data": {name: checksum(file) for name, file in zip(names, files, strict=True)},
    }


def numbered(files: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Files of several kinds by what a record calls them where they are nobody's images: kind and place."""
    return {f"{kind}/{number}": path for kind, paths in files.items() for number, path in enumerate(paths)}


def revision(folder: Path) -> str | None:
    """What git calls the checkout that `folder` is in, with `-dirty` if it was changed since; None outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--tags", "--dirty"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def sentence(record: Mapping[str, Any], name: str) -> str:
    """The same in short, to stand below the table; `name` is the file that has it whole."""
    return (
        f"Made by petbench {record['petbench']}, code {digest(record['code'])}, configuration {record['configuration']},"
        f" data {digest(record['data'])}; {name} has seeds and checksums."
    )


def _seeds(block: Any, path: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(block, Mapping):
        for key, value in sorted(block.items()):
            if key == "seed":
                yield f"{path}{key}", value
            else:
                yield from _seeds(value, f"{path}{key}/")
