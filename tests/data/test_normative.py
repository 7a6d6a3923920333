"""Normative uptake: draws have people's statistics, regions lie where they should and keep their contrast, and disease takes its own."""

import numpy as np
import pytest

from petbench.data.mni_head import HEALTHY, Severity, random_mni_head
from petbench.data.normative import draw, explained_by_tissue, normative_uptake, norms, parcellation
from petbench.data.phantom import DEFAULTS

NAMES = norms().names


def test_draws_have_the_means_and_the_covariance_of_people():
    rng = np.random.default_rng(0)
    drawn = np.array([draw(rng) for _ in range(6000)]) * norms().mean.mean()
    np.testing.assert_allclose(drawn.mean(axis=0), norms().mean, atol=0.01)
    covariance = norms().factor @ norms().factor.T
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.0015)
    assert drawn.min() > 0
    # As measured of the people themselves (the notice in resources): spread, likeness of regions, one level for all.
    deviation = np.sqrt(np.diag(covariance))
    assert (deviation / norms().mean).mean() == pytest.approx(0.088, abs=0.003)
    correlation = covariance / np.outer(deviation, deviation)
    assert correlation[np.triu_indices(len(NAMES), 1)].mean() == pytest.approx(0.61, abs=0.02)
    assert np.linalg.eigvalsh(covariance)[-1] / covariance.trace() == pytest.approx(0.67, abs=0.02)


def test_regions_lie_where_they_should():
    at = {
        "precuneus_left": (-8, -62, 44),
        "precuneus_right": (8, -62, 44),
        "putamen_left": (-25, 4, 2),
        "thalamus_right": (10, -18, 8),
        "posterior_cingulate_cortex_left": (-4, -28, 38),
        "hippocampus_right": (27, -22, -14),
        "lateral_occipital_cortex_left": (-34, -86, 2),
        "cerebellar_cortex_right": (24, -62, -40),
        "superior_frontal_gyrus_left": (-8, 50, 34),
        "brainstem_wo_pons": (0, -28, -28),
    }
    points = np.array(list(at.values()), dtype=np.float32).T
    assert [NAMES[int(number)] for number in parcellation()(points)] == list(at)


def test_the_same_seed_is_the_same_person_and_disease_takes_its_regions():
    healthy, ill, other = (normative_uptake(np.random.default_rng(seed), loss) for seed, loss in ((1, 0.0), (1, 0.4), (2, 0.0)))
    again = normative_uptake(np.random.default_rng(1))
    np.testing.assert_array_equal(healthy.values, again.values)
    assert not np.array_equal(healthy.values, other.values)
    where, kept = parcellation().values, ill.values / healthy.values
    for name, share in (("precuneus_left", 0.6), ("posterior_cingulate_cortex_right", 0.6), ("lateral_temporal_cortex_left", 0.68)):
        np.testing.assert_allclose(kept[where == NAMES.index(name)], share, rtol=1e-5)
    for name in ("putamen_left", "cerebellar_cortex_right", "pericalcarine_cortex_left"):
        np.testing.assert_allclose(kept[where == NAMES.index(name)], 1.0)


def head(seed, severity=HEALTHY, **keys):
    return random_mni_head(DEFAULTS | keys, np.random.SeedSequence(seed), severity)


def brain(subject):
    """Fractions of grey and white matter and fluid, activity without lesions, and places in the template, of points in the brain."""
    grid = np.stack(np.meshgrid(*(np.arange(-72, 73, 6, dtype=np.float32),) * 3, indexing="ij")).reshape(3, -1)
    points = grid[:, subject.depth(grid) > 6]
    fractions, uptake = subject.tissues_at(points, 2.0)
    names = [tissue.name for tissue in subject.tissues]
    activity = np.array([tissue.activity_bq_ml for tissue in subject.tissues])
    of_tissue = fractions[[names.index(name) for name in ("grey", "white", "csf")]]
    scaled = np.where(np.isin(names, ["grey", "white"])[:, None], uptake, 1.0)
    return of_tissue, (fractions * activity[:, None] * scaled).sum(axis=0), uptake, subject.to_template(points)


def test_regions_go_with_the_heads_deformation_and_other_parts_of_it_stay():
    smooth, normative = head(5), head(5, uptake="normative")
    fractions, _, uptake, places = brain(normative)
    np.testing.assert_array_equal(fractions, brain(smooth)[0])
    np.testing.assert_allclose(uptake / brain(smooth)[2], normative.regional(places), rtol=1e-5)


def test_tissue_foretells_less_of_normative_uptake():
    """What docs/data.md says of it; the field alone leaves almost nothing that tissue does not tell."""
    found = {}
    for kind in ("smooth", "normative"):
        of_tissue = [brain(head(seed, uptake=kind, regional_variation=0.05)) for seed in range(4)]
        found[kind] = np.mean([explained_by_tissue(activity, fractions) for fractions, activity, *_ in of_tissue])
    assert found["smooth"] > 0.95
    assert found["normative"] < found["smooth"] - 0.03


def test_a_patient_has_lost_uptake_where_the_disease_is():
    control, patient = head(3, uptake="normative"), head(3, Severity(0.0, 1.0), uptake="normative")
    _, _, before, places = brain(control)
    lost = 1 - brain(patient)[2] / before
    regions = np.array([NAMES[int(number)] for number in parcellation()(places)])
    assert lost[np.char.startswith(regions, "precuneus")].mean() == pytest.approx(DEFAULTS["disease"]["hypometabolism"], abs=0.06)
    assert abs(lost[np.char.startswith(regions, "putamen")]).mean() < 0.03


def test_tissue_alone_explains_all_of_what_follows_from_it():
    rng = np.random.default_rng(0)
    fractions = rng.dirichlet([1, 1, 1], 500).T.astype(np.float32)
    activity = 20000 * fractions[0] + 5000 * fractions[1] + 1000 * fractions[2]
    assert explained_by_tissue(activity, fractions) == pytest.approx(1.0)
    noise = rng.normal(0, activity.std(), 500)
    assert explained_by_tissue(activity + noise, fractions) == pytest.approx(0.5, abs=0.08)
