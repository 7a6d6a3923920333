from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from petbench.errors import InputError
from petbench.physics.scanner import Scanner, TimeOfFlight, field_of_view, image_affine, radial_positions, view_angles

CONFIG = Path(__file__).parents[2] / "config"
ENTRIES = sorted((CONFIG / "scanners").glob("*.yaml"))
SCHEMA = yaml.safe_load((CONFIG / "schemas" / "scanner.yaml").read_text())


def entry(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / "scanners" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_entries_fit_the_closed_schema_and_their_bins_cover_the_field_of_view(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(content)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(content | {"veiws": 3})
    scanner = Scanner.from_entry(content)
    assert radial_positions(scanner)[-1] >= scanner.fov_mm / 2 - scanner.voxel_mm[0]


def test_mmr_geometry() -> None:
    scanner = Scanner.from_entry(entry("biograph_mmr"))
    assert scanner.sinogram_shape == (344, 252, 127)
    assert scanner.image_shape == (344, 344, 127)
    positions = radial_positions(scanner)
    assert np.diff(positions)[171] == pytest.approx(2.0863, abs=1e-4)
    assert positions[0] == pytest.approx(334.7 * np.sin(-171.5 * np.pi / 504))
    assert np.all(np.diff(positions) > 0)
    np.testing.assert_allclose(positions, -positions[::-1])
    k = np.arange(344) - 171.5
    np.testing.assert_allclose(positions, 334.7 * np.sin(k * np.pi / 504))
    uniform = Scanner.from_entry(entry("biograph_mmr") | {"radial": "uniform", "radial_bins": 300})
    np.testing.assert_allclose(np.diff(radial_positions(uniform)), np.pi * 334.7 / 504)


def test_mmr_rings() -> None:
    """The rings fill the published axial field of view of 258 mm (Delso et al. 2011)."""
    scanner = Scanner.from_entry(entry("biograph_mmr"))
    assert (scanner.rings, scanner.max_ring_difference, scanner.span) == (64, 60, 11)
    assert 2 * scanner.plane_spacing_mm == 4.0625
    assert 64 * 2 * scanner.plane_spacing_mm == pytest.approx(258, rel=0.01)
    assert scanner.tof is None


def test_time_of_flight_of_200_ps_is_30_mm() -> None:
    tof = TimeOfFlight(200.0, 23, 100.0)
    assert tof.sigma_mm * 2.3548 == pytest.approx(29.98, abs=0.01)
    assert tof.bin_mm == pytest.approx(14.99, abs=0.01)
    np.testing.assert_allclose(tof.edges_mm, -tof.edges_mm[::-1])
    np.testing.assert_allclose(np.diff(tof.edges_mm), tof.bin_mm)
    assert tof.edges_mm.size == 24


def test_tof_bins_cover_the_field_of_view_and_its_blur() -> None:
    scanner = Scanner.from_entry(entry("tof_demo"))
    assert scanner.tof is not None
    axial = (scanner.planes * scanner.plane_spacing_mm) / 2
    assert scanner.tof.edges_mm[-1] > scanner.fov_mm / 2 + 3 * scanner.tof.sigma_mm
    assert axial < scanner.tof.edges_mm[-1]


def test_a_scanner_without_oblique_planes_or_tof_needs_neither_block() -> None:
    scanner = Scanner.from_entry(entry("demo"))
    assert (scanner.rings, scanner.max_ring_difference, scanner.span, scanner.tof) == (None, None, None, None)


def test_uniform_mmr_bins_would_leave_the_ring() -> None:
    with pytest.raises(InputError, match="358 mm from the axis, beyond the ring"):
        Scanner.from_entry(entry("biograph_mmr") | {"radial": "uniform"})


def test_views_cover_half_a_turn_once(scanner: Scanner) -> None:
    angles = view_angles(scanner)
    assert angles[0] == 0
    assert angles[-1] + angles[1] == pytest.approx(np.pi)


def test_affine_centres_the_grid_on_the_field_of_view(scanner: Scanner) -> None:
    affine = image_affine(scanner)
    middle = (np.array(scanner.image_shape) - 1) / 2
    np.testing.assert_allclose(affine @ [*middle, 1], [0, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(np.diag(affine)[:3], scanner.voxel_mm)
    area = field_of_view(scanner).sum() * scanner.voxel_mm[0] ** 2
    assert area == pytest.approx(np.pi * (scanner.fov_mm / 2) ** 2, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radial": "fan"}, "radial"),
        ({"radial_spacing_mm": 2.0}, "radial_spacing_mm"),
        ({"radial_bins": 600}, "radial_bins"),
        ({"planes": 126}, "planes and slices"),
        ({"fov_mm": 700.0}, "fov_mm"),
        ({"radial_bins": 504, "fov_mm": 668.0}, "detectors"),
        ({"oblique": {"rings": 63, "max_ring_difference": 60, "span": 11}}, "oblique/rings"),
        ({"oblique": {"rings": 64, "max_ring_difference": 64, "span": 11}}, "oblique/max_ring_difference"),
        ({"oblique": {"rings": 64, "max_ring_difference": 60, "span": 10}}, "oblique/span"),
        ({"tof": {"resolution_ps": 200, "bins": 39, "bin_ps": 100}}, "tof/bins: 39 .* at least 45"),
        ({"image": {"shape": [344, 344, 127], "voxel_mm": [2.0, 2.1, 2.03125]}}, "square"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scanner.from_entry(entry("biograph_mmr") | change)
