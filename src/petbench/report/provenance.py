"""What a table was made from: version and hash of the code, configuration, seeds, checksums of the data."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import petbench
from petbench.files import checksum, digest


def provenance(
    configuration: Mapping[str, Any], code: Mapping[str, str], names: Sequence[tuple[str, str, str]], images: Sequence[str]
) -> dict[str, Any]:
    """Gather it.

    Args:
        configuration: Resolved entries that the table depends on, by kind and name.
        code: Hash of the code of each stage, see `petbench.workflow.code`.
        names: Data set, subject and kind (`T1w` or the dose) of each image. Paths are left out: they may tell more than a label does.
        images: Their files.

    Returns:
        JSON-like: `petbench` and `revision` (null outside a checkout) at the time of writing, `code` by stage, `configuration` (its hash),
        `seeds` by key, `data` (SHA-256 by data set, subject and kind).
    """
    data: dict[str, dict[str, dict[str, str]]] = {}
    for (dataset, subject, kind), image in zip(names, images, strict=True):
        data.setdefault(dataset, {}).setdefault(f"sub-{subject}", {})[kind] = checksum(image)
    return {
        "petbench": version("petbench"),
        "revision": revision(Path(petbench.__file__).parent),
        "code": dict(code),
        "configuration": digest(configuration),
        "seeds": dict(_seeds(configuration)),
        "data": data,
    }


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
