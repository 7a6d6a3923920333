"""Minutes granted to a restoration follow from what it computes."""

import pytest
from repo import ROOT

from petbench.methods.diffusion import Sampler
from petbench.workflow.entries import load
from petbench.workflow.runtime import BEGIN_MINUTES, evaluated_slices, evaluations, restored_windows, restoring_minutes, scan_minutes
from petbench.workflow.schema import read_yaml


@pytest.fixture(scope="module")
def paper():
    return load(read_yaml(ROOT / "config/paper.yaml"), ROOT)


def block(paper, dataset, method):
    entry, restore = paper["datasets"][dataset], paper["methods"][method]["restore"]
    return entry, entry["domains"][paper["methods"][method]["train"]["domain"]], restore


def test_m2diff_at_the_papers_scale_is_granted_more_than_the_two_hours_it_is_costed_at(paper):
    given = block(paper, "m2diff_mni", "m2diff")
    assert given[2]["sampler"]["steps"] == 1000
    assert restored_windows(*given) == 128
    assert restoring_minutes(*given) > 2 * 120


def test_minutes_grow_with_the_steps_of_the_sampler(paper):
    dataset, domain, restore = block(paper, "m2diff_mni", "m2diff")

    def beyond_the_start(steps):
        return restoring_minutes(dataset, domain, restore | {"sampler": restore["sampler"] | {"steps": steps}}) - BEGIN_MINUTES

    assert beyond_the_start(1000) == pytest.approx(10 * beyond_the_start(100), abs=10)
    assert scan_minutes(1000) - BEGIN_MINUTES == pytest.approx(20 * (scan_minutes(None) - BEGIN_MINUTES), abs=20)


@pytest.mark.parametrize(("name", "steps"), [("ancestral", 1000), ("ddim", 1), ("heun", 100), ("heun", 1), ("euler", 9)])
def test_evaluations_are_those_that_the_sampler_makes(paper, name, steps):
    sampler = {"name": name, "steps": steps, "seed": 0}
    assert evaluations({"sampler": sampler}) == Sampler(**sampler).evaluations
    dataset, domain, restore = block(paper, "mfdiff_scans", "csrd")
    euler = {"name": "euler", "steps": 1000 * Sampler(**sampler).evaluations}
    own, many = (restoring_minutes(dataset, domain, restore | {"sampler": drawn}) - BEGIN_MINUTES for drawn in (sampler, euler))
    assert own == pytest.approx(many / 1000, abs=1)


def test_without_a_sampler_a_window_is_evaluated_once():
    assert evaluations({"inputs": ["low_dose"]}) == 1


def test_ten_evaluated_slices_are_ten_windows(paper):
    dataset, domain, restore = block(paper, "mfdiff_scans", "mfdiff")
    assert evaluated_slices(dataset) == {"axis": 2, "slices": list(range(64, 74))}
    assert restored_windows(dataset, domain, restore) == 10
    assert restored_windows(dataset, domain, restore | {"slices": "all"}) == 127
    assert restored_windows({**dataset, "evaluation": {}}, domain, restore) == 10  # those listed for training
    assert restored_windows({**dataset, "evaluation": {"slices": [3], "slice_axis": 0}}, domain, restore) == 10
    assert restored_windows({**dataset, "evaluation": {}}, {**domain, "slices": {"uniform": 10}}, restore) == 127


def test_patches_are_counted_by_the_stride_and_by_half_a_window_without(paper):
    dataset, domain, restore = block(paper, "mni", "mak_gan")
    assert restored_windows(dataset, domain, restore) == 729
    assert restored_windows(dataset, domain, {key: value for key, value in restore.items() if key != "stride"}) == 27
