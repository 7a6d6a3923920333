"""Mutated inputs: each is read as it was written or refused in one line, with no traceback, no hang and no change of what it holds.

`python tests/test_fuzz.py 1000 SEED` tries more than the suite does, and prints how each kind of file came out.
"""

import copy
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
import torch

from petbench.data.acquired import acquired
from petbench.data.bids import read_sidecar
from petbench.data.cohort import read_cohort
from petbench.data.frames import frame_times
from petbench.data.nifti import read_acquired, read_volume, volume, write_volume
from petbench.data.openneuro import read_manifest, trusted
from petbench.data.preflight import check_images
from petbench.errors import InputError
from petbench.methods.build import build
from petbench.plan.paths import Paths
from petbench.plan.scans import TYPED, Scans
from petbench.positron_range.psf_set import Origin, PsfSet, read_psf_set, write_psf_set
from petbench.restoration.weights import Description, load_restorer, save_weights
from petbench.workflow.library import Library, check_description
from petbench.workflow.schema import read_yaml
from petbench.workflow.subjects import with_subjects

CONFIG = Path(__file__).parents[1] / "config"
LONGEST_S = 20
EXTREMES = [
    b"null",
    b"n/a",
    b"1e34",
    b"-1",
    b"0",
    b"NaN",
    b"Infinity",
    b"1e5",
    b"[]",
    b"{}",
    b'""',
    b"true",
    b"[" * 3000,
    b"&a [*a]",
    b"\x00",
    b"'",
]
VALUES = [
    b"null",
    b'"n/a"',
    b"n/a",
    b"1e34",
    b"-1",
    b"0",
    b"2",
    b"0.5",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"x"',
    b"1e400",
    b"NaN",
    b"[[1]]",
    b"x" * 300,
]
DESCRIPTION = Description(
    "m_unet",
    {
        "domain": "patches",
        "network": {"spatial_dims": 3, "channels": [2, 4], "normalisation": "none"},
        "optimiser": {"restorer": {"name": "adam", "lr": 1e-3}},
        "batch_size": 2,
        "seed": 0,
        "precision": "fp32",
        "steps": 2,
    },
    {
        "registration": {"transform": "rigid", "fixed": "standard", "minimum_overlap": 0.6, "seed": 1},
        "grid": {"shape": [48, 56, 40]},
        "scaling": {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5},
    },
    [16, 16, 16],
    [4.0, 4.0, 4.0],
    "mni",
    "drf4",
    "0",
    "abc",
    {"window": [16, 16, 16], "stride": [8, 8, 8]},
)


class Target(NamedTuple):
    """A kind of file: how a good one is written, and how it is read; `kept` where a change can be noticed by its content.

    Only the first `most` bytes are changed.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    kept: bool
    most: int | None = None


def mutants(content: bytes, seed: int) -> Iterator[bytes]:
    """Without end: bits flipped, pieces cut, doubled, swapped, replaced by extremes, other encodings, nothing at all."""
    rng = np.random.default_rng(seed)
    yield b""
    yield content.decode("latin-1").encode("utf-16")
    yield b"\xff\xfe" + content
    yield content + "Größe\n".encode("cp1252")
    values = [found.span() for found in re.finditer(rb'"[^"\n]*"|[\w.+-]+', content)]
    while True:
        changed = bytearray(content)
        if values and rng.random() < 0.5:  # one whole value by another, so that what is written stays well formed
            first, last = values[int(rng.integers(len(values)))]
            changed[first:last] = VALUES[int(rng.integers(len(VALUES)))]
            yield bytes(changed)
            continue
        for _ in range(int(rng.integers(1, 4))):
            size = max(len(changed), 1)
            first = int(rng.integers(size))
            last = min(size, first + int(rng.integers(1, 40)))
            kind = rng.integers(6)
            if kind == 0 and changed:
                changed[first] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del changed[first : int(rng.choice([last, size]))]
            elif kind == 2:
                changed[first:first] = changed[first:last]
            elif kind == 3:
                changed[first:last] = EXTREMES[int(rng.integers(len(EXTREMES)))]
            elif kind == 4:
                numbers = [place for place, value in enumerate(changed) if chr(value).isdigit()]
                if numbers:
                    place = numbers[int(rng.integers(len(numbers)))]
                    changed[place : place + 1] = EXTREMES[int(rng.integers(len(EXTREMES)))]
            else:
                changed[first:last] = rng.integers(0, 256, last - first, dtype=np.uint8).tobytes()
        yield bytes(changed)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) or isinstance(other, dict):
        return type(one) is type(other) and one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | torch.Tensor):
        return one.shape == other.shape and bool((one == other).all())
    return bool(one == other)


def read_weights(path: Path) -> Any:
    restorer, description = load_restorer(path, "cpu")
    check_description(asdict(description), CONFIG, str(path))
    return asdict(description), dict(restorer.weights())


def write_weights(path: Path) -> None:
    torch.manual_seed(0)
    save_weights(path, build("m_unet", DESCRIPTION.train).weights(), DESCRIPTION)


def write_psfs(path: Path) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (2, 3, 3, 3), dtype=np.uint32)
    outside = np.array([1, 2], dtype=np.uint32)
    positrons = counts.reshape(2, -1).sum(axis=1, dtype=np.uint32) + outside
    mu = rng.random((2, 3, 3, 3), dtype=np.float32)
    write_psf_set(path, PsfSet(("a", "b"), mu, counts, outside, positrons, Origin("F18", 2.0, "point", "embedded", "physics", "10", 1)))


def write_image(path: Path) -> None:
    data = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    write_volume(path, data, like=volume(data, np.diag([2.0, 3.0, 4.0, 1.0])))


def read_image(path: Path) -> Any:
    image = read_volume(path)
    return np.asarray(image.dataobj), np.asarray(image.affine)


def write_table(path: Path) -> None:
    rows = ["participant_id\tgroup\tage"]
    for number in range(1, 5):
        (path.parent / f"sub-0{number}/anat").mkdir(parents=True, exist_ok=True)
        (path.parent / f"sub-0{number}/anat/sub-0{number}_T1w.nii").touch()
        rows.append(f"sub-0{number}\t{'AD' if number % 2 else 'CN'}\t7{number}")
    path.write_text("\n".join(rows) + "\n")


def read_table(path: Path) -> Any:
    diagnosis = {"positive": "AD", "negative": "CN", "column": "group"}
    return read_cohort({"source": "bids", "bids": str(path.parent), "diagnosis": diagnosis})


def write_entry(path: Path) -> None:
    text = (Path(__file__).parent / "config/datasets/longitudinal.yaml").read_text()
    base = (Path(__file__).parent / "config/datasets/lab.yaml").read_text()
    own = text[text.index("sessions:") :]
    path.write_text("\n".join(line for line in base.splitlines() if not line.startswith(("standard", "doses"))) + "\n" + own)


def read_entry(path: Path) -> Any:
    folder = path.parent.parent
    entry = Library((CONFIG, folder), {}, "scale").resolve_whole("datasets", path.stem)
    return with_subjects(copy.deepcopy(entry) | {"incomplete": "stop"})


def write_sidecar(path: Path) -> None:
    path.write_text(
        json.dumps(
            {
                "Units": "Bq/mL",
                "TracerName": "FDG",
                "InjectedRadioactivity": 200,
                "InjectedRadioactivityUnits": "MBq",
                "FrameDuration": [60, 60],
                "DoseFraction": 0.25,
            },
            indent=1,
        )
    )


def read_json_beside(path: Path) -> Any:
    return read_sidecar(path.with_suffix(".nii.gz")), acquired(path.with_suffix(".nii.gz"))


def write_plain_image(path: Path) -> None:
    data = np.random.default_rng(0).random((8, 9, 10), dtype=np.float32)
    path.write_bytes(volume(data, np.diag([2.0, 3.0, 4.0, 1.0])).to_bytes())


def read_header(path: Path) -> Any:
    """What a header leads to, which must be what nibabel alone makes of it."""
    image = read_acquired(path)
    plainly = nibabel.load(path)
    data = np.asarray(plainly.dataobj, dtype=np.float32).reshape(image.shape)
    assert np.array_equal(np.asarray(image.dataobj), data), "other voxels"
    assert np.array_equal(image.affine, plainly.affine), "another place"
    return np.asarray(image.dataobj), np.asarray(image.affine)


def write_dataset(path: Path) -> None:
    """Two people, of whom a sidecar is `path`."""
    rng, root = np.random.default_rng(0), path.parents[2]
    for subject in ("sub-01", "sub-02"):
        for name in ("anat/{}_T1w", "pet/{}_rec-standard_pet", "pet/{}_rec-low_pet"):
            image = root / subject / f"{name.format(subject)}.nii"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(volume(rng.random((6, 7, 8), dtype=np.float32), np.diag([2.0, 3.0, 4.0, 1.0])).to_bytes())
            image.with_suffix(".json").write_text(json.dumps({"Units": "Bq/mL", "TracerName": "FDG"}))
    write_sidecar(path)


def preflight(path: Path) -> Any:
    root = path.parents[2]
    names = ("anat/{}_T1w", "pet/{}_rec-standard_pet", "pet/{}_rec-low_pet")
    people = {label: [str(root / f"sub-{label}" / f"{name.format(f'sub-{label}')}.nii") for name in names] for label in ("01", "02")}
    out = root / "preflight.json"
    out.unlink(missing_ok=True)
    try:
        check_images(people, str(out))
    except InputError:
        assert not out.exists(), "refused, and written all the same"
        raise
    return json.loads(out.read_text())


def write_arguments(path: Path) -> None:
    root = path.parent / "lab"
    for subject in ("01", "02"):
        for name in (f"ses-a/anat/sub-{subject}_ses-a_T1w.nii", f"ses-a/pet/sub-{subject}_ses-a_trc-FDG_pet.nii"):
            (root / f"sub-{subject}" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / f"sub-{subject}" / name).write_bytes(b"x")
    given = {
        "bids": root,
        "weights": root / "sub-01/ses-a/pet/sub-01_ses-a_trc-FDG_pet.nii",
        "subject": "01",
        "session": "a",
        "tracer": "FDG",
    }
    path.write_text("\n".join(f"{key}={value}" for key, value in given.items()))


def read_arguments(path: Path) -> Any:
    """The scans that words of a command line name; a word holds no zero byte, and a key that is none is not looked at."""
    words = path.read_bytes().replace(b"\x00", b"").decode(errors="surrogateescape").split("\n")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    scans = Scans(Paths("lab", str), {key: value for key, value in given.items() if key in TYPED}, CONFIG / "schemas/methods")
    found, _ = scans._found
    assert all(scan["folder"] in ("sub-01/ses-a", "sub-02/ses-a") for scan in found), "another scan"
    return found


def write_dynamic(path: Path) -> None:
    scanner = {
        "AcquisitionTime": "12:30:43.0",
        "TimeZero": "12:30:43",
        "RadionuclideTotalDose": 249800000.0,
        "InjectedRadioactivity": "249.8",
    }
    frames = {"FrameDuration": [16] * 6, "FrameDurationUnit": "s", "FrameTimesStart": [86399, 15, 31, 47, 63, 79], "Unit": "Bq/ml"}
    path.write_text(json.dumps(frames | scanner, indent=1))


def read_dynamic(path: Path) -> Any:
    sidecar = read_sidecar(path.with_suffix(".nii.gz"))
    starts, durations = frame_times(sidecar, 6, str(path))
    assert len(starts) == len(durations) == 6
    assert np.isfinite([*starts, *durations]).all()
    return starts, durations, trusted(sidecar)


def write_manifest(path: Path) -> None:
    path.write_bytes((CONFIG.parent / "resources/openneuro/ds003382.tsv").read_bytes()[:1500].rpartition(b"\n")[0])


TARGETS = {
    "headers/sub-01_pet.nii": Target("header", write_plain_image, read_header, False, 352),
    "lab/sub-01/pet/sub-01_rec-low_pet.json": Target("preflight", write_dataset, preflight, False),
    "arguments/words": Target("arguments", write_arguments, read_arguments, False),
    "dynamic/sub-01_pet.json": Target("dynamic", write_dynamic, read_dynamic, False),
    "manifests/a.tsv": Target("manifest", write_manifest, read_manifest, False),
    "weights/model.safetensors": Target("weights", write_weights, read_weights, True),
    "sets/psf.h5": Target("psf", write_psfs, read_psf_set, True),
    "images/a.nii.gz": Target("image", write_image, read_image, True),
    "bids/participants.tsv": Target("table", write_table, read_table, False),
    "own/datasets/mutated.yaml": Target("entry", write_entry, read_entry, False),
    "sidecars/sub-01_pet.json": Target("sidecar", write_sidecar, read_json_beside, False),
}


def tried(target: Target, path: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """How so many mutants of one kind of file came out, and what went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target.write(path)
    content, found, outcomes = path.read_bytes(), [], Counter()
    content, rest = content[: target.most], content[target.most :] if target.most else b""
    good = target.read(path)
    for number, mutant in zip(range(count), mutants(content, seed), strict=False):
        path.write_bytes(mutant + rest)
        read_yaml.__globals__["_read"].cache_clear()
        started = time.monotonic()
        try:
            value = target.read(path)
            alike = same(plain(value), plain(good))
            outcomes["read as the same" if alike else "read as it says"] += 1
            if target.kept and not alike:
                found.append(f"{target.name} {number}: read as something else")
        except InputError as error:
            line = str(error)
            outcomes["refused in a line"] += 1
            if "\n" in line or len(line) - max(map(len, line.split())) > 1500:  # a path may be long, and is given whole
                found.append(f"{target.name} {number}: told in more than a line: {line[:300]!r}")
        except Exception as error:
            found.append(f"{target.name} {number}: {type(error).__name__}: {str(error)[:200]}")
        if time.monotonic() - started > LONGEST_S:
            found.append(f"{target.name} {number}: took {time.monotonic() - started:.0f} s")
    return outcomes, found


def plain(value: Any) -> Any:
    return vars(value) | {"origin": vars(value.origin)} if isinstance(value, PsfSet) else value


@pytest.mark.parametrize("name", TARGETS)
def test_a_mutated_file_is_refused_in_one_line_or_is_the_same(tmp_path, name):
    outcomes, found = tried(TARGETS[name], tmp_path / name, 12, seed=0)
    assert found == []
    assert outcomes["refused in a line"]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, target in TARGETS.items():
            outcomes, found = tried(target, Path(folder) / name, -(-int(sys.argv[1]) // len(TARGETS)), seed=int(sys.argv[2]))
            print(target.name, dict(outcomes), found, flush=True)
