"""Labels of subjects, and the angles of rotated copies."""

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.workflow.subjects import with_subjects

ENTRY = {"source": "phantom", "seed": 7, "subjects": 3, "rotations": {"count": 2, "degrees": [-5, 10]}}


def angles(**change):
    return {subject: copy["rotation_deg"] for subject, copy in with_subjects({**ENTRY, **change})["phantoms"].items()}


def test_every_phantom_is_there_so_many_times():
    entry = with_subjects(ENTRY)
    assert entry["subjects"] == list(entry["phantoms"]) == ["01r1", "01r2", "02r1", "02r2", "03r1", "03r2"]
    assert [copy["phantom"] for copy in entry["phantoms"].values()] == ["01", "01", "02", "02", "03", "03"]
    assert ENTRY["subjects"] == 3


def test_without_rotations_phantoms_are_subjects():
    entry = with_subjects({"source": "phantom", "seed": 7, "subjects": 101})
    assert (entry["subjects"][0], entry["subjects"][-1]) == ("001", "101")
    assert "phantoms" not in entry
    assert with_subjects({"source": "bids", "subjects": ["a", "b"]})["subjects"] == ["a", "b"]


def test_brainweb_subjects_are_its_models():
    assert with_subjects({"source": "brainweb", "seed": 1, "subjects": 3})["subjects"] == ["04", "05", "06"]
    turned = with_subjects({**ENTRY, "source": "brainweb", "subjects": ["41", 4]})
    assert turned["subjects"] == ["41r1", "41r2", "04r1", "04r2"]


def test_an_angle_follows_from_seed_phantom_and_number_alone():
    some = angles()
    more = angles(subjects=5, rotations={"count": 4, "degrees": [-5, 10]}, scanner="other", title="other")
    assert some == {subject: more[subject] for subject in some}
    assert len(set(more.values())) == len(more)
    other = angles(seed=8)
    assert all(some[subject] != other[subject] for subject in some)


def test_angles_are_uniform_over_their_range():
    drawn = np.array(list(angles(subjects=200, rotations={"count": 10, "degrees": [-5, 10]}).values()))
    assert -5 <= drawn.min() < -4.9
    assert 9.9 < drawn.max() <= 10
    shares = np.histogram(drawn, bins=5, range=(-5, 10))[0] / drawn.size
    np.testing.assert_allclose(shares, 0.2, atol=5 * np.sqrt(0.2 * 0.8 / drawn.size))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "bids", "subjects": ["a", "b"]}, "rotations: scans as measured"),
        ({"rotations": {"count": 2, "degrees": [15, 0]}}, r"rotations/degrees: \[15, 0\] does not rise"),
        ({"source": "brainweb", "subjects": 21}, "subjects: BrainWeb has 20 models"),
        ({"source": "bids", "subjects": ["a", "a"]}, "subjects: a subject is listed twice"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        with_subjects({**ENTRY, **change})
