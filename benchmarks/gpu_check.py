"""Whether all that runs on a GPU does so rightly, and what it takes: one command, ten minutes, on whatever GPU there is.

    python benchmarks/gpu_check.py [--minutes 10] [--only NAME …] [--device cpu --tiny]      (--write makes gpu_check.json of config/)

It needs torch, NumPy, SciPy and Numba alone; entries come resolved from `gpu_check.json`, which a test holds to config/.

- Operators on the device against their compiled CPU forms, both in seconds: projectors of the Biograph mMR and their transposes, DDConv at
  the published grid, the positrons of the fast engine.
- Methods at published size and batch (two windows at least; half of them, and half again, where memory is short), cheapest first: a
  training step with Adam and a restoring, a sampler's with four steps at most, in 32-bit (TF32 off) and under bf16 autocast. `difference`,
  of images and of that optimiser's gradient that differs most, is |bf16 - 32-bit| / |32-bit|, a few steps from random weights, without
  dropout, whose masks may go with the precision. `seconds` are synchronised, after a warm-up; `peak_mb` is torch.cuda.max_memory_allocated;
  `tflops` counts the convolutions and matrix products that ran, forward and back; `of_peak` is its share of what a large matrix product
  reaches here in that precision. `study_tflops` counts as `study.py` does, three passes a window, discriminators and losses left out.

A row is a JSON line; a table ends it. What failed, or did not fit into the minutes, is named; the exit status is 1 where an operator
disagrees or anything failed.
"""

import argparse
import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from timing import seconds
from torch import Tensor, nn

try:
    import array_api_compat
except ModuleNotFoundError:
    from scipy._lib import array_api_compat  # SciPy brings a copy

    sys.modules["array_api_compat"] = array_api_compat

import positron_range

from petbench.device import device_name, place
from petbench.evaluation.complexity import Flops
from petbench.methods.base import ACQUISITION, Progress, Restorer
from petbench.methods.build import build
from petbench.networks.psf_predictor import PSFPredictor
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner, TimeOfFlight
from petbench.physics.tensors import device_operator
from petbench.positron_range.cohort import make_media
from petbench.positron_range.condensed_history import CondensedHistory, Volume, fisher_widths, flier, starting_points
from petbench.positron_range.ddconv import ddconv
from petbench.positron_range.device_transport import DeviceTransport
from petbench.positron_range.media import Media
from petbench.positron_range.run_gate import PointSource
from petbench.training.probes import BF16_ERROR, MOVES, Phantoms, batches, draw, gradients, learn, seen, short_sampler, size

ROOT = Path(__file__).parents[1]
ENTRIES = Path(__file__).with_suffix(".json")
TINY_SIDE = 16
PRECISIONS = {"32-bit": torch.float32, "bf16": torch.bfloat16}
OPERATOR_ERROR = 1e-4  # of the largest value, as in gpu_projector.py
ASTRAY = 2e-3  # share of positrons that rounding at a boundary may send elsewhere, as in the tests


def entries() -> dict[str, Any]:
    """What the check takes from config/: methods that state a size, at published size and as config/tiny.yaml has them; scanners."""
    from petbench.workflow.library import Library
    from petbench.workflow.schema import read_yaml

    def methods(overrides: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        library = Library((ROOT / "config",), overrides, "")
        whole = {name: library.resolve("methods", name) for name in names}
        return {name: {key: entry[key] for key in ("module", "train", "restore")} for name, entry in whole.items()}

    own = {path.stem: read_yaml(path) for path in sorted((ROOT / "config/methods").glob("*.yaml"))}
    windows = {name: entry["size"]["window"] for name, entry in own.items() if "size" in entry}
    tiny = read_yaml(ROOT / "config/tiny.yaml")["override"]
    scanners = {name: read_yaml(ROOT / f"config/scanners/{name}.yaml") for name in ("biograph_mmr", "tiny")}
    made = {"methods": methods({}, list(windows)), "tiny": methods(tiny, [name for name in windows if name in tiny["methods"]])}
    rungs, table = CondensedHistory().tables([*medium().materials, "water"])  # from GATE's table of materials
    steps = {"energies_mev": rungs.energies_mev, "least_loss_mev": rungs.least_loss_mev, "table": table}
    return {"windows": windows, "scanners": scanners, **made, "ladder": {name: array.tolist() for name, array in steps.items()}}


def medium() -> Media:
    """One random medium, as DDConv's authors draw them."""
    return make_media({"media": [{"kind": "official", "seed": 2, "count": 1}]})


class Check:
    """The device, the rows so far, and the time that is left."""

    def __init__(self, device: str, tiny: bool, minutes: float, only: Sequence[str]) -> None:
        self.device, self.tiny, self.only = device, tiny, only
        self.end = time.monotonic() + 60 * minutes
        self.rows, self.left_out, self.peak = list[dict[str, Any]](), list[str](), dict[str, float]()
        self.entries = json.loads(ENTRIES.read_text())

    def report(self, **row: Any) -> None:
        """Print a row, its figures to four digits."""
        row = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
        self.rows.append(row)
        print(json.dumps(row), flush=True)

    @contextlib.contextmanager
    def reported(self, kind: str, name: str) -> Iterator[None]:
        """What fails becomes a row, and the next one is tried."""
        try:
            yield
        except Exception as error:  # whatever it is: a GPU that nobody has tried may refuse anything
            self.report(kind=kind, name=name, error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        self.free()

    def free(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()  # where there is none, nothing

    def seconds(self, call: Callable[[], object]) -> float:
        """Of a call, the device's work included, after one that warms up."""

        def whole() -> None:
            call()
            if self.device == "cuda":
                torch.cuda.synchronize()

        return seconds(whole, repeats=1 if self.tiny else 2)


def apart(one: Tensor, other: Tensor) -> float:
    """|one - other| / |other|, infinite where either is not finite or the other is zero."""
    return float(((one - other).norm() / other.norm()).nan_to_num(float("inf")))


def matmul(check: Check) -> None:
    """What a large matrix product reaches, in 10^12 operations a second."""
    side = 256 if check.tiny else 8192
    for precision, kind in PRECISIONS.items():
        one, other = (torch.randn(side, side, device=check.device, dtype=kind) for _ in range(2))
        taken = check.seconds(partial(torch.matmul, one, other))
        check.peak[precision] = 2 * side**3 / taken / 1e12
        check.report(kind="matmul", name=f"{side} x {side}", precision=precision, seconds=taken, tflops=check.peak[precision])
    check.free()


def compare_both(check: Check, name: str, operator: Any, shape: tuple[int, ...]) -> None:
    """A linear operator's device form against its compiled one, forward and back; differences are a share of the largest value."""
    there, rng = device_operator(operator, torch.device(check.device)), np.random.default_rng(0)
    array = rng.random(shape, dtype=np.float32)
    for way, on_device, on_cpu in (("forward", there, operator), ("back", there.adjoint, operator.adjoint)):
        moved, expected = torch.from_numpy(array).to(check.device), np.asarray(on_cpu(array))
        difference = float(np.abs(on_device(moved).cpu().numpy() - expected).max() / np.abs(expected).max())
        row = {"size": f"{'x'.join(map(str, array.shape))} to {'x'.join(map(str, expected.shape))}"}
        row |= {"difference": difference, "holds": difference <= OPERATOR_ERROR}  # which NaN is not
        row |= {"seconds": check.seconds(partial(on_device, moved)), "cpu_seconds": seconds(partial(on_cpu, array), repeats=1)}
        check.report(kind="operator", name=f"{name} {way}", **row)
        array = rng.random(expected.shape, dtype=np.float32)


def projectors(check: Check) -> None:
    """Direct and oblique planes, without and with time of flight, forward and back."""
    scanner = Scanner.from_entry(check.entries["scanners"]["tiny" if check.tiny else "biograph_mmr"])
    if check.tiny:
        scanner = replace(scanner, planes=7, image_shape=(*scanner.image_shape[:2], 7), rings=4, max_ring_difference=3, span=3)
    scanner = replace(scanner, tof=TimeOfFlight(resolution_ps=200.0, bins=5 if check.tiny else 13, bin_ps=300.0))
    # of oblique planes one subset: all of them are 290 MB of sinogram, and 13 times as much with time of flight
    made = [("direct", lambda: DirectProjector(scanner)), ("oblique", lambda: ObliqueProjector(scanner).subset(0, 21))]
    for name, make in [*made, ("oblique, TOF", lambda: ObliqueProjector(scanner, tof=True).subset(0, 21))]:
        with check.reported("operator", name):
            compare_both(check, name, make(), scanner.image_shape)


def convolution(check: Check) -> None:
    """DDConv with random weights, at the published grid; both forms apply the kernels that the device predicted."""
    shape, network = ((14, 14, 12), PSFPredictor(channels=2, blocks=1)) if check.tiny else ((200, 200, 100), PSFPredictor())
    with check.reported("operator", "DDConv"):
        predictor = positron_range.predictor_of(network, check.device)
        with contextlib.redirect_stdout(sys.stderr):  # it says which voxels share kernels
            operator = ddconv(positron_range.torso(shape), predictor, homogeneous=positron_range.exponential_kernels())
        compare_both(check, "DDConv", operator, shape)


def engine(check: Check) -> None:
    """The fast engine: Ga-68 in a random medium; positrons that end elsewhere on the device, and the mean range."""
    with check.reported("operator", "fast engine"):
        media, steps = medium(), {name: np.array(values) for name, values in check.entries["ladder"].items()}
        labels, edges = media.labels[0], np.full(3, media.voxel_mm)
        volume = Volume(labels, surroundings=len(media.materials), edges_mm=edges, widths=fisher_widths(), **steps)
        starts, energies = starting_points(PointSource("Ga68", 1000 if check.tiny else 1_000_000, edge_mm=media.voxel_mm), edges, 7, 0)
        starts = starts + edges * np.array(labels.shape) / 2
        there = DeviceTransport(*(getattr(volume, part.name) for part in fields(Volume)), check.device)

        def ends(fly_all: Callable[..., None]) -> NDArray[np.float64]:
            fly_all(places := starts.copy(), energies, 7, 0)
            return places

        here, cpu = ends(there.fly_all), ends(flier(volume, "cpu"))
        astray = float((np.linalg.norm(here - cpu, axis=1) > 1e-6).mean())
        mean_mm, expected_mm = (float(np.linalg.norm(found - starts, axis=1).mean()) for found in (here, cpu))
        holds = astray < ASTRAY and bool(np.isfinite(here).all())
        taken = check.seconds(lambda: ends(there.fly_all)), seconds(lambda: ends(flier(volume, "cpu")), repeats=1)
        row = {"difference": abs(mean_mm / expected_mm - 1), "astray": astray, "holds": holds, "seconds": taken[0], "cpu_seconds": taken[1]}
        check.report(kind="operator", name="fast engine", size=f"{len(starts)} positrons", **row)


def without_dropout(method: Restorer) -> None:
    """Its masks may go with the precision, so that gradients would not compare."""
    for module in method.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0


def operations(call: Callable[[], object]) -> float:
    """What PyTorch counts in a call; its fused transformer layers, which hide theirs, are off."""
    torch.backends.mha.set_fastpath_enabled(False)
    with Flops() as counter:
        call()
    torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.total)


def measure_method(check: Check, name: str, entry: dict[str, Any], window: Sequence[int], windows: int, gflop: float) -> float:
    """A training step and a restoring of one method, in both precisions; the seconds of all four."""
    train, restore, device = entry["train"], entry["restore"], check.device
    torch.manual_seed(train["seed"])
    with torch.device(device):
        method = place(build(entry["module"], train), device)
    phantoms = Phantoms(window, windows, seed=1, scanned=ACQUISITION in restore["inputs"])
    batch = {kind: data.to(device) for kind, data in batches(phantoms, seen(train, restore), 1, method.batches)[0].items()}
    images = {kind: batch[kind][:windows] for kind in restore["inputs"]}
    sampler = short_sampler(restore)
    learn(method, [batch] * MOVES, rate=1e-4)

    def restored(autocast: bool) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            return draw(method, images, restore["inputs"], sampler).float()

    figures, counts = list[dict[str, Any]](), dict[str, float]()
    for precision in PRECISIONS:
        low = precision == "bf16"
        for task, call in (("train", partial(learn, method, [batch], 1e-4, None, low)), ("restore", partial(restored, low))):
            counts[task] = counts.get(task) or operations(call)
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            taken = check.seconds(call)
            row = {"kind": task, "name": name, "precision": precision, "windows": windows, "window": list(window), "seconds": taken}
            row["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
            row["tflops"] = counts[task] / taken / 1e12
            row["of_peak"] = row["tflops"] / check.peak[precision]
            if task == "train":
                row["study_tflops"] = 3 * gflop * windows / taken / 1e3
            elif sampler is not None:
                row["sampler_steps"] = sampler.steps
            figures.append(row)

    without_dropout(method)
    (exact, _), (coarse, _) = (gradients(method, batch, Progress(0, 1), autocast) for autocast in (False, True))
    worst = {"train": {part: apart(coarse[part], exact[part]) for part in exact}}
    worst["restore"] = {"image": apart(restored(True), restored(False))}
    for row in figures:
        if row["precision"] == "bf16":
            row["of"], row["difference"] = max(worst[row["kind"]].items(), key=lambda pair: pair[1])
        check.report(**row)
    return sum(row["seconds"] for row in figures)


def methods(check: Check) -> None:
    """All methods, cheapest first, until the time is up: by what those before took for their operations."""
    asked, costs = check.entries["tiny" if check.tiny else "methods"], {}
    for name in [name for name in asked if name in (check.only or asked)]:
        entry, window = asked[name], [min(side, TINY_SIDE) if check.tiny else side for side in check.entries["windows"][name]]
        gflop = size(entry["module"], entry["train"], entry["restore"]["inputs"], window)["gflop"]
        windows = 2 if check.tiny else max(2, entry["train"]["batch_size"])
        costs[name] = (gflop * windows, gflop, windows, window)
    rate = 0.0  # seconds of the method before, for its cost; all that is done with a method takes some five times those of its rows
    for name, (cost, gflop, windows, window) in sorted(costs.items(), key=lambda pair: pair[1][0]):
        if time.monotonic() + 5 * rate * cost > check.end:
            check.left_out.append(name)
            continue
        with check.reported("method", name):
            while True:
                with contextlib.suppress(*([torch.cuda.OutOfMemoryError] if windows > 2 else [])):
                    rate = measure_method(check, name, asked[name], window, windows, gflop) / (gflop * windows)
                    break
                windows = max(2, windows // 2)
                check.free()


def table(check: Check) -> str:
    """All rows as Markdown, what was left out, and the rate for study.py."""
    columns = ("kind", "name", "precision", "difference", "seconds", "cpu_seconds", "peak_mb", "tflops", "of_peak", "study_tflops")
    lines = [f"| {' | '.join(columns)} |", "|---|---|---|" + "--:|" * (len(columns) - 3)]
    for row in check.rows:
        if "error" in row:
            lines.append(f"| {row['kind']} | {row['name']} | FAILED: {row['error']} |" + " |" * (len(columns) - 3))
            continue
        difference = row.get("difference")
        holds = row.get("holds", difference is None or difference <= BF16_ERROR)
        cells = ["" if row.get(key) is None else f"{row[key]}{'' if holds or key != 'difference' else ' !'}" for key in columns]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"\n`!`: an operator disagrees, or bf16 is more than {BF16_ERROR} from 32-bit.")
    trained = [row for row in check.rows if row["kind"] == "train" and row["precision"] == "bf16"]
    if trained:
        rate = np.average([row["study_tflops"] for row in trained], weights=[row["seconds"] for row in trained])
        lines.append(f"All training steps in bf16 together, as benchmarks/study.py counts: --tflops {rate:.3g}")
    lines += [f"Not measured, for want of time (--minutes): {', '.join(check.left_out)}"] if check.left_out else []
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, of methods in config/tiny.yaml: what the tests run")
    parser.add_argument("--minutes", type=float, default=10.0, help="a method that would not end by then is left out")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="methods, or `operators`")
    parser.add_argument("--write", action="store_true", help=f"make {ENTRIES.name} of config/")
    given = parser.parse_args()
    if given.write:
        ENTRIES.write_text(json.dumps(entries(), indent=1) + "\n")
        return 0
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_check: torch finds no CUDA device; run it where there is one, or with --device cpu --tiny.")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # 32-bit is the reference, and is meant
    check = Check(given.device, given.tiny, given.minutes, given.only)
    known = {*check.entries["tiny" if given.tiny else "methods"], "operators"}
    if unknown := sorted(set(given.only) - known):
        sys.exit(f"gpu_check: --only: there is no {unknown[0]!r}; choose from {', '.join(sorted(known))}.")
    check.report(kind="device", name=device_name(given.device), torch=torch.__version__, threads=numba.get_num_threads())
    matmul(check)
    if "operators" in (given.only or known):
        projectors(check)
        convolution(check)
        engine(check)
    methods(check)
    print(f"\n{table(check)}")
    return int(any("error" in row or row.get("holds") is False for row in check.rows))


if __name__ == "__main__":
    sys.exit(main())
