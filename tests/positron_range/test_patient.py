"""Experiment 3's path, on a simulated scan in the format of a lab's own: no time of flight, sinogram and list mode."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import read_json
from petbench.physics.acquisition import write_acquisition
from petbench.physics.events import events_from_sinogram
from petbench.physics.scanner import image_affine
from petbench.positron_range.experiment_reconstruction import scan_of
from petbench.positron_range.patient import correct_scan, read_mu, write_profiles
from petbench.positron_range.strategies import strategy_operator

SIMULATION = {"counts": 3e5, "psf_mm": 4.4, "randoms_fraction": 0.1, "scatter_fraction": 0.1, "geometry": "oblique"}
RECONSTRUCTION = {"iterations": 6, "subsets": 6, "at": [2], "psf_mm": 4.4}


@pytest.fixture(scope="module")
def scans(small_torso, small_scanner, kernel_file, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One scan as a sinogram and as events, with nothing in the file that only a simulation knows."""
    folder = tmp_path_factory.mktemp("patient")
    operator = strategy_operator("svtd", small_torso.mu, small_torso.voxel_mm, "Ga68", {"kernels": kernel_file})
    annihilations = operator(small_torso.activity).clip(0)
    scan = replace(scan_of(small_torso, annihilations, small_scanner, SIMULATION, "Ga68", 5, 1), metadata={}, seconds=600.0)
    events = replace(scan, data=events_from_sinogram(scan.data, 600.0, "Ga68", 2))
    paths = {"sinogram": folder / "sinogram.h5", "list_mode": folder / "events.h5"}
    write_acquisition(paths["sinogram"], scan, small_scanner)
    write_acquisition(paths["list_mode"], events, small_scanner)
    return paths


@pytest.fixture
def files(kernel_file, weights_file) -> dict[str, Path]:
    return {"kernels": kernel_file, "weights": weights_file}


def outputs(folder: Path, *strategies: str) -> dict[str, dict[str, Path]]:
    return {name: {"image": folder / f"{name}.nii.gz", "sidecar": folder / f"{name}.json"} for name in strategies}


@pytest.mark.parametrize(
    ("form", "strategies"), [("sinogram", ("none", "svtd", "ddconv", "svtd-rdp")), ("list_mode", ("none", "svtd", "svtd-bowsher"))]
)
def test_a_scan_is_reconstructed_with_each_strategy(
    scans, torso_paths, small_torso, small_scanner, files, tmp_path, form: str, strategies: tuple[str, ...]
) -> None:
    out = outputs(tmp_path, *strategies)
    settings = {"batch": 64, "crop": 0.01}
    correct_scan(scans[form], torso_paths["mu"], small_scanner, files, RECONSTRUCTION, out, settings=settings, threads=1)
    lesions = small_torso.lesions > 0
    means, spread = {}, {}
    for strategy, written in out.items():
        image, sidecar = nibabel.load(written["image"]), read_json(written["sidecar"])
        assert image.shape == (45, 45, 31, 2)
        np.testing.assert_allclose(image.affine, image_affine(small_scanner))
        correction, _, penalty = strategy.partition("-")
        assert sidecar["PositronRangeCorrection"] == correction
        assert sidecar.get("Penalty", {}).get("name", "") == penalty
        assert sidecar["ReconMethodName"] == (f"PSF-{penalty.upper()}-SVRG" if penalty else "PSF-OSEM")
        assert sidecar["Iterations"] == [2, 6]
        assert (sidecar["TimeOfFlight"], sidecar["FrameDuration"]) == (False, [600.0])
        assert sidecar["AcquisitionMode"] == form.replace("_", " ")
        spread[strategy] = np.asarray(image.dataobj)[..., 1][small_torso.activity == 5000].std()
        means[strategy] = np.asarray(image.dataobj)[..., 1][lesions].mean()
    assert means["svtd"] > 1.02 * means["none"]
    assert spread[strategies[-1]] < 0.9 * spread["svtd"]
    write_profiles({name: written["image"] for name, written in out.items()}, (0.0, 0.0, 4.0), tmp_path / "profiles.tsv")
    profiles = pd.read_csv(tmp_path / "profiles.tsv", sep="\t", keep_default_na=False)
    assert profiles.groupby(["model", "axis"], sort=False).size().to_list() == len(out) * [45, 45, 31]
    at_place = profiles[(profiles.model == "svtd") & (profiles.position_mm == 0)].value
    assert at_place.to_list() == [pytest.approx(np.asarray(nibabel.load(out["svtd"]["image"]).dataobj)[22, 22, 17, 1])] * 3
    with pytest.raises(InputError, match="profiles/place_mm"):
        write_profiles({"none": out["none"]["image"]}, (0.0, 0.0, 400.0), tmp_path / "none.tsv")


def test_attenuation_off_the_grid_is_refused_or_resampled(small_torso, small_scanner, tmp_path) -> None:
    affine = image_affine(small_scanner)
    fine = np.repeat(np.repeat(np.repeat(small_torso.mu, 2, 0), 2, 1), 2, 2)
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    finer[:3, 3] -= 0.5
    write_volume(tmp_path / "fine.nii.gz", fine, volume(fine, finer))
    with pytest.raises(InputError, match=r"fine.nii.gz: attenuation: is not on the image grid"):
        read_mu(tmp_path / "fine.nii.gz", small_scanner)
    np.testing.assert_allclose(read_mu(tmp_path / "fine.nii.gz", small_scanner, resample=True), small_torso.mu, atol=1e-6)


def test_an_mr_s_edges_are_spared(scans, torso_paths, small_torso, small_scanner, files, tmp_path) -> None:
    """An MR that shows the lesions, which attenuation does not: their edges are kept."""
    mr = np.where(small_torso.lesions > 0, 5.0, small_torso.mu).astype(np.float32)
    write_volume(tmp_path / "mr.nii.gz", mr, volume(mr, image_affine(small_scanner)))
    images = {}
    for name, given in (("mu", None), ("mr", tmp_path / "mr.nii.gz")):
        out = outputs(tmp_path / name, "svtd-bowsher")
        settings = {"penalty": {"strength": 0.3}, "mr": given, "threads": 1}
        correct_scan(scans["sinogram"], torso_paths["mu"], small_scanner, files, {"iterations": 6, "subsets": 6}, out, **settings)
        images[name] = np.asarray(nibabel.load(out["svtd-bowsher"]["image"]).dataobj)[small_torso.lesions > 0].mean()
    assert images["mr"] > 1.03 * images["mu"]
    other = volume(mr, np.diag([1.0, 1.0, 1.0, 1.0]))
    write_volume(tmp_path / "off.nii.gz", mr, other)
    with pytest.raises(InputError, match=r"off.nii.gz: is not on the scanner's image grid"):
        correct_scan(
            scans["sinogram"],
            torso_paths["mu"],
            small_scanner,
            files,
            RECONSTRUCTION,
            outputs(tmp_path, "none-bowsher"),
            mr=tmp_path / "off.nii.gz",
        )


@pytest.mark.parametrize("units", ["HU", "negative"])
def test_what_is_no_attenuation_is_refused(small_torso, small_scanner, tmp_path, units: str) -> None:
    wrong = small_torso.mu * 10_000 if units == "HU" else small_torso.mu - 0.1
    write_volume(tmp_path / "mu.nii.gz", wrong, volume(wrong, image_affine(small_scanner)))
    with pytest.raises(InputError, match=r"mu.nii.gz: attenuation"):
        read_mu(tmp_path / "mu.nii.gz", small_scanner)


def test_what_does_not_fit_is_said_before_anything_is_written(
    scans, torso_paths, small_scanner, files, untrained: Callable[..., Path], tmp_path
) -> None:
    def correct(**changes) -> None:
        given = {"files": files, "out": outputs(tmp_path / "out", "none", "ddconv"), "reconstruction": RECONSTRUCTION} | changes
        correct_scan(scans["sinogram"], torso_paths["mu"], small_scanner, given["files"], given["reconstruction"], given["out"], threads=1)

    with pytest.raises(InputError, match=r"made for voxels of 2\.09 mm"):
        correct(files={"weights": untrained(tmp_path / "native.safetensors", voxel_mm=2.09)})
    with pytest.raises(InputError, match="trained for Rb82"):
        correct(files={"weights": untrained(tmp_path / "rb82.safetensors", isotope="Rb82")})
    with pytest.raises(InputError, match="'deblur' is unknown"):
        correct(out=outputs(tmp_path / "out", "deblur"))
    with pytest.raises(InputError, match="reconstruction/at"):
        correct(reconstruction={"iterations": 2, "at": [5]})
    assert not (tmp_path / "out").exists()
