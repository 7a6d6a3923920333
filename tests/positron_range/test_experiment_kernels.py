"""Experiment 1 on the real Geant4, small: phantoms, homogeneous media and a torso, two independent runs of each."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from petbench.errors import InputError
from petbench.positron_range.annihilation_images import (
    AnnihilationImage,
    merge_annihilations,
    read_annihilations,
    simulate_annihilations,
    write_annihilations,
)
from petbench.positron_range.cohort import make_media
from petbench.positron_range.experiment_kernels import compare_kernels, compare_torso, truncation_table
from petbench.positron_range.gate import Simulation, simulate_psfs
from petbench.positron_range.psf_set import PsfSet, read_psf_set, write_psf_set

pytestmark = pytest.mark.slow

SIZE = 11


@pytest.fixture(scope="module")
def psf_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two runs of the media, and homogeneous ones to take kernels of; as starting Geant4 takes longest, it is started once for all."""
    folder = tmp_path_factory.mktemp("psfs")
    media = make_media({"media": [{"kind": "homogeneous"}, {"kind": "geometric", "phantoms": ["i", "v"]}]})
    own = {"first": range(5), "second": range(5), "materials": range(3)}
    together = [(f"{name} {medium}", medium) for name, of in own.items() for medium in of]
    labels = media.labels[[medium for _, medium in together]]
    row = replace(media, labels=labels, names=tuple(name for name, _ in together))
    psfs = simulate_psfs(row, Simulation("Ga68", 4_000, "voxel", 15), 1, folder)
    files = {}
    for seed, (name, of) in enumerate(own.items(), start=1):
        chosen = [index for index, (place, _) in enumerate(together) if place.startswith(name)]
        arrays = (psfs.mu[chosen], psfs.counts[chosen], psfs.outside[chosen], psfs.positrons[chosen])
        files[name] = folder / f"{name}.h5"
        write_psf_set(files[name], PsfSet(tuple(media.names[medium] for medium in of), *arrays, replace(psfs.origin, seed=seed)))
    return files


@pytest.fixture(scope="module")
def weights(untrained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("weights") / "model.safetensors", SIZE)


@pytest.fixture(scope="module")
def compared(psf_files, weights, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compared")
    out = {"distances": folder / "distances.tsv", "profiles": folder / "profiles.tsv", "kernels": folder / "kernels.h5"}
    compare_kernels([psf_files["first"], psf_files["second"]], weights, psf_files["materials"], out)
    return out


def test_svtd_is_at_the_floor_where_the_medium_is_homogeneous_and_above_it_where_not(compared) -> None:
    table = pd.read_csv(compared["distances"], sep="\t").set_index(["medium", "model", "quantity"]).value
    for material in ("lung", "water", "rib_bone"):
        assert 0.6 < table[material, "svtd", "l1_ratio"] < 1
        # Where it is homogeneous, DDConv shares the material's kernel; its network alone was never trained.
        assert table[material, "ddconv", "l1"] == pytest.approx(table[material, "svtd", "l1"], rel=1e-3)
        assert table[material, "network", "l1_ratio"] > 1.3
    for phantom in ("geometric-i", "geometric-v"):
        assert table[phantom, "svtd", "l1_ratio"] > 1.1
        assert table[phantom, "ddconv", "l1"] == table[phantom, "network", "l1"] > table[phantom, "svtd", "l1"]
    assert table["water", "gate", "mean_range_mm"] == pytest.approx(2.4, rel=0.1)
    assert table["rib_bone", "gate", "mean_range_mm"] < table["water", "gate", "mean_range_mm"] < table["lung", "gate", "mean_range_mm"]


def test_profiles_and_kernels_are_those_of_every_model(compared) -> None:
    profiles = pd.read_csv(compared["profiles"], sep="\t")
    assert set(profiles.model) == {"gate", "svtd", "ddconv", "network"}
    np.testing.assert_allclose(profiles.groupby(["medium", "model", "axis"]).projection.sum(), 1, rtol=1e-5)
    # Phantom (i): lung begins 3 mm below the source along z; SVTD lets far too many positrons of the water side annihilate in it.
    along_z = profiles[(profiles.medium == "geometric-i") & (profiles.axis == "z") & (profiles.position_mm <= -6)]
    in_lung = along_z.groupby("model").projection.sum()
    assert in_lung["svtd"] > 5 * in_lung["gate"] > 0
    with h5py.File(compared["kernels"]) as file:
        assert list(file.attrs["media"]) == ["lung", "water", "rib_bone", "geometric-i", "geometric-v"]
        assert file["svtd"].shape == file["mu"].shape == (5, SIZE, SIZE, SIZE)


def test_truncation_falls_with_kernel_size_and_is_worst_in_lung(psf_files, tmp_path) -> None:
    truncation_table(psf_files["materials"], tmp_path / "truncation.tsv", sizes=(11, 15))
    table = pd.read_csv(tmp_path / "truncation.tsv", sep="\t")
    shares = table[table.quantity == "truncated_fraction"].set_index(["medium", "kernel_size"]).value
    assert 0.1 < shares["lung", 11] < 0.35
    assert shares["lung", 15] < shares["lung", 11]
    assert shares["water", 11] < 1e-3
    assert set(table[table.quantity == "mean_range_mm"].medium) == {"lung", "water", "rib_bone"}


@pytest.mark.parametrize(
    ("change", "named"),
    [("same", "are one run"), ("source", "of a point source"), ("voxels", "made for voxels of 3 mm"), ("seed", "seed of a reference")],
)
def test_runs_and_models_that_do_not_fit_are_refused(psf_files, weights, untrained, tmp_path, change: str, named: str) -> None:
    second, materials = psf_files["second"], psf_files["materials"]
    if change == "same":
        second = psf_files["first"]
    elif change == "source":
        weights = untrained(tmp_path / "point.safetensors", SIZE, source="point")
    elif change == "voxels":
        weights = untrained(tmp_path / "coarse.safetensors", SIZE, voxel_mm=3.0)
    else:
        psfs = read_psf_set(materials)
        materials = tmp_path / "materials.h5"
        write_psf_set(materials, replace(psfs, origin=replace(psfs.origin, seed=1)))
    out = {name: tmp_path / name for name in ("distances", "profiles", "kernels")}
    with pytest.raises(InputError, match=named):
        compare_kernels([psf_files["first"], second], weights, materials, out)
    assert not any(path.exists() for path in out.values())


def test_the_fast_engine_is_compared_where_its_media_are_the_runs_own(psf_files, weights, tmp_path) -> None:
    """What stands in for it was drawn anew from one run, so that it is about as far from the runs as they are from each other."""
    psfs = read_psf_set(psf_files["first"])
    rng = np.random.default_rng(1)
    drawn = [rng.multinomial(started, own.ravel() / own.sum()) for started, own in zip(psfs.positrons, psfs.counts, strict=True)]
    fast = replace(psfs, counts=np.reshape(drawn, psfs.counts.shape).astype(np.uint32), outside=np.zeros_like(psfs.outside))
    write_psf_set(tmp_path / "fast.h5", fast)
    out = {name: tmp_path / name for name in ("distances", "profiles", "kernels")}
    runs = [psf_files["first"], psf_files["second"]]
    compare_kernels(runs, weights, psf_files["materials"], out, fast=tmp_path / "fast.h5")
    table = pd.read_csv(out["distances"], sep="\t").set_index(["medium", "model", "quantity"]).value
    assert 0.8 < table["water", "fast", "l1_ratio"] < 1.5
    with pytest.raises(InputError, match="media or positrons are not those of"):
        compare_kernels(runs, weights, psf_files["materials"], out, fast=psf_files["materials"])


def test_other_media_are_refused(psf_files, weights, tmp_path) -> None:
    out = {name: tmp_path / name for name in ("distances", "profiles", "kernels")}
    psfs = read_psf_set(psf_files["second"])
    write_psf_set(tmp_path / "other.h5", replace(psfs, names=tuple(reversed(psfs.names))))
    with pytest.raises(InputError, match="simulate the same media twice"):
        compare_kernels([psf_files["first"], tmp_path / "other.h5"], weights, psf_files["materials"], out)


@pytest.fixture(scope="module")
def chunks(torso_paths, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("annihilations")
    paths = [folder / f"chunk-{chunk}.h5" for chunk in range(2)]
    for chunk, path in enumerate(paths):
        simulate_annihilations(torso_paths, {"isotope": "Ga68", "positrons": 30_001}, 5, path, chunk, 2)
    assert sorted(folder.iterdir()) == paths
    return paths


def test_chunks_add_up_to_the_positrons_of_the_torso(chunks, small_torso, tmp_path) -> None:
    merge_annihilations(chunks, tmp_path / "all.h5")
    whole, parts = read_annihilations(tmp_path / "all.h5"), [read_annihilations(path) for path in chunks]
    assert [part.positrons for part in parts] == [15_000, 15_001]
    assert whole.positrons == 30_001
    np.testing.assert_array_equal(whole.counts, parts[0].counts + parts[1].counts)
    assert not np.array_equal(parts[0].counts, parts[1].counts)
    # In the activity's unit: the same sum but for what left the image, and the same place.
    inside = 1 - whole.outside / whole.positrons
    assert whole.activity.sum() == pytest.approx(inside * small_torso.activity.sum(), rel=1e-5)
    assert 0.85 < inside < 1
    means = [
        np.array([np.average(axis, weights=image) for axis in np.indices(image.shape)]) for image in (whole.activity, small_torso.activity)
    ]
    np.testing.assert_allclose(means[0], means[1], atol=0.5)


def test_the_torso_is_compared_region_by_region(chunks, torso_paths, psf_files, weights_file, tmp_path) -> None:
    out = {"distances": tmp_path / "d.tsv", "profiles": tmp_path / "p.tsv", "images": tmp_path / "i.h5"}
    files = {"weights": weights_file, "kernels": psf_files["materials"]}
    compare_torso(torso_paths, chunks, files, out, settings={"batch": 64}, threads=1)
    table = pd.read_csv(out["distances"], sep="\t")
    assert set(table.region) == {"body", "interfaces", "lesion-1", "lesion-2", "lesion-3", "lesion-4"}
    values = table.set_index(["region", "model", "quantity"]).value
    assert not values.isna().any()
    for region in ("body", "lesion-1", "lesion-2"):
        assert values[region, "svtd", "nrmse"] < 0.5 * values[region, "none", "nrmse"]
        assert values[region, "svtd", "kl"] < values[region, "none", "kl"]
    profiles = pd.read_csv(out["profiles"], sep="\t", keep_default_na=False)
    assert set(profiles.model) == {"activity", "gate", "none", "svtd", "ddconv"}
    assert len(profiles) == 4 * 5 * (45 + 45 + 31)
    with h5py.File(out["images"]) as file:
        np.testing.assert_array_equal(file["none"], file["activity"])
        runs = [read_annihilations(path).activity for path in chunks]
        np.testing.assert_allclose(file["gate"], (runs[0] + runs[1]) / 2, rtol=1e-3, atol=1e-3)


def test_chunks_of_something_else_are_refused(chunks, torso_paths, psf_files, weights, tmp_path) -> None:
    first = read_annihilations(chunks[0])
    with pytest.raises(InputError, match="give each chunk once"):
        merge_annihilations([chunks[0], chunks[1], chunks[0]], tmp_path / "twice.h5")
    write_annihilations(tmp_path / "other.h5", replace(first, isotope="Rb82", parts=("another",)))
    with pytest.raises(InputError, match="its isotope is not that"):
        merge_annihilations([chunks[0], tmp_path / "other.h5"], tmp_path / "mixed.h5")
    assert not (tmp_path / "mixed.h5").exists()
    files, out = {"weights": weights, "kernels": psf_files["materials"]}, {"distances": "", "profiles": "", "images": ""}
    with pytest.raises(InputError, match="not independent"):
        compare_torso(torso_paths, [chunks[0], chunks[0]], files, out)
    write_annihilations(tmp_path / "scaled.h5", replace(first, activity_sum=2 * first.activity_sum))
    with pytest.raises(InputError, match="of another torso"):
        compare_torso(torso_paths, [chunks[1], tmp_path / "scaled.h5"], files, out)


def test_annihilations_that_were_cut_short_are_refused(tmp_path) -> None:
    image = AnnihilationImage(np.ones((2, 2, 2), np.uint32), 1, 10, 5.0, "Ga68", (2.0, 2.0, 2.0), "embedded", "", "", ("one",))
    write_annihilations(tmp_path / "image.h5", image)
    with pytest.raises(InputError, match="do not add up"):
        read_annihilations(tmp_path / "image.h5")
    (tmp_path / "short.h5").write_bytes((tmp_path / "image.h5").read_bytes()[:500])
    with pytest.raises(InputError, match="no readable annihilation image"):
        read_annihilations(tmp_path / "short.h5")


def test_more_chunks_than_positrons_are_refused(torso_paths, tmp_path) -> None:
    with pytest.raises(InputError, match="gate/chunks"):
        simulate_annihilations(torso_paths, {"isotope": "Ga68", "positrons": 3}, 5, tmp_path / "x.h5", 3, 4)
