from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label as connected

from petbench.errors import InputError
from petbench.positron_range.cohort import make_media, read_media, write_media
from petbench.positron_range.media import RandomMedia, geometric_phantom, official_medium, random_medium

ENTRY = {"media": [{"kind": "random", "seed": 3, "count": 12}, {"kind": "homogeneous"}, {"kind": "geometric"}]}
LABELS = {"lung": 0, "water": 1, "rib_bone": 2}


def only(kind: str, **keys) -> RandomMedia:
    return RandomMedia.from_entry({"kinds": {kind: 1}, **keys})


def test_a_medium_follows_from_seed_and_index_alone() -> None:
    some, more = make_media(ENTRY), make_media({"media": [{"kind": "random", "seed": 3, "count": 5, "first": 7}]})
    np.testing.assert_array_equal(some.labels[7:12], more.labels)
    assert some.names[7:12] == more.names
    assert not np.array_equal(random_medium(3, 0, 31, 3), random_medium(4, 0, 31, 3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([5, 11, 31]), materials=st.integers(2, 5))
def test_every_label_has_a_material(seed: int, size: int, materials: int) -> None:
    medium = random_medium(seed, 0, size, materials)
    assert medium.shape == (size, size, size)
    assert medium.dtype == np.uint8
    assert medium.max() < materials


def test_slabs_along_an_axis_vary_along_it_alone_and_have_a_boundary_near_the_source() -> None:
    for index in range(20):
        medium = random_medium(1, index, 31, 3, only("slabs", oblique=0.0, boundaries=[1, 1], reach=4.0))
        varying = [axis for axis in range(3) if np.any(np.diff(medium.astype(int), axis=axis))]
        assert len(varying) == 1
        line = np.moveaxis(medium, varying[0], 0)[:, 0, 0].astype(int)
        (boundary,) = np.flatnonzero(np.diff(line))
        assert abs(boundary + 0.5 - 15) <= 4.5


def test_oblique_slabs_are_separated_by_a_plane() -> None:
    medium = random_medium(5, 0, 31, 2, only("slabs", oblique=1.0, boundaries=[1, 1]))
    places = np.argwhere(np.ones_like(medium)) - 15
    first = places[medium.ravel() == medium[0, 0, 0]].mean(axis=0) - places[medium.ravel() != medium[0, 0, 0]].mean(axis=0)
    depth = places @ first
    both = [depth[medium.ravel() == label] for label in np.unique(medium)]
    low, high = sorted(both, key=np.mean)
    # the line between the means is not quite the normal of planes that cut a cube askew
    assert np.mean(low[:, None] > np.quantile(high, 0.02)) < 0.15
    assert len(both) == 2


def test_shapes_are_as_large_as_asked_and_never_larger() -> None:
    for index in range(10):
        medium = random_medium(2, index, 31, 2, only("shapes", shapes=[1, 1], shape_size=[2, 10]))
        # one shape of the background's own material leaves nothing to see
        for found in (np.flatnonzero(np.ptp(medium, axis=(0, 1))), np.flatnonzero(np.ptp(medium, axis=(1, 2)))):
            assert len(found) <= 10


def test_a_tenth_of_single_voxels_differ_from_their_background() -> None:
    medium = random_medium(9, 1, 31, 3, only("voxels"))
    background = np.bincount(medium.ravel()).argmax()
    share = np.mean(medium != background)
    assert share == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 31**3))
    assert {0, 1, 2} == set(np.unique(medium))


def test_every_kind_is_drawn_as_often_as_asked() -> None:
    how = RandomMedia.from_entry({"kinds": {"slabs": 3, "voxels": 1}, "oblique": 0.0})
    media = [random_medium(6, index, 11, 3, how) for index in range(200)]
    varying = np.array([[np.any(np.diff(medium.astype(int), axis=axis)) for axis in range(3)] for medium in media])
    slabs = np.count_nonzero(varying.sum(axis=1) <= 1)
    assert slabs == pytest.approx(150, abs=4 * np.sqrt(200 * 3 / 16))


def test_a_mixture_has_slabs_shapes_and_single_voxels() -> None:
    medium = random_medium(6, 0, 31, 3, only("mixture"))
    pieces, number = connected(medium == medium[15, 15, 15])
    sizes = np.bincount(pieces.ravel())[1:]
    assert number > 100
    assert np.count_nonzero(sizes == 1) > 100
    assert sizes.max() > 1000


def test_official_media_have_slabs_along_one_axis_shapes_about_the_middle_and_single_voxels() -> None:
    axes = set()
    for index in range(40):
        medium = official_medium(3, index, 31, 3)
        # Beyond the reach of the shapes, five voxels and ten more, there are slabs, of which a tenth of the voxels are drawn anew.
        corner = medium[:, :, 30]
        layers = [np.mean([np.bincount(line, minlength=3).max() / 31 for line in np.moveaxis(corner, axis, 0)]) for axis in (0, 1)]
        axis = int(np.argmax(layers))
        assert layers[axis] == pytest.approx(1 - 0.1 * 2 / 3, abs=0.03)
        axes.add(axis)
        fills = np.array([np.bincount(line, minlength=3).argmax() for line in np.moveaxis(corner, axis, 0)])
        assert np.count_nonzero(np.diff(fills)) <= 9
        np.testing.assert_array_equal(medium, official_medium(3, index, 31, 3))
    assert axes == {0, 1}
    media = np.stack([official_medium(4, index, 31, 3) for index in range(60)])
    assert np.bincount(media.ravel()) / media.size == pytest.approx([1 / 3] * 3, abs=0.09)
    middle, edge = media[:, 10:21, 10:21, 10:21], media[:, :, :, 26:]
    mixed = [np.mean(part[..., 1:] != part[..., :-1]) for part in (middle, edge)]
    assert mixed[0] > 1.5 * mixed[1]


def test_attenuation_is_that_of_the_materials_around_the_source() -> None:
    media = make_media(ENTRY)
    mu = media.attenuation(11)
    assert mu.shape == (20, 11, 11, 11)
    assert mu.dtype == np.float32
    np.testing.assert_array_equal(mu[12:15, 5, 5, 5], np.float32([0.0247, 0.0960, 0.1716]))
    np.testing.assert_array_equal(mu, media.attenuation()[:, 10:21, 10:21, 10:21])
    with pytest.raises(InputError, match="odd sizes"):
        media.attenuation(33)


def test_geometric_phantoms_have_the_paper_s_lengths() -> None:
    phantoms = {name: geometric_phantom(name, LABELS) for name in ("i", "ii", "iii", "iv", "v")}
    assert all(phantom.shape == (31, 31, 31) for phantom in phantoms.values())
    assert [np.count_nonzero(phantoms["i"][0, 0] == label) * 2 for label in (0, 1)] == [26, 36]
    for name, inside in (("ii", 1), ("iii", 0)):
        cross = phantoms[name][3] == inside
        assert cross.any(axis=0).sum() * 2 == cross.any(axis=1).sum() * 2 == 12
        np.testing.assert_array_equal(phantoms[name], np.repeat(phantoms[name][:1], 31, axis=0))
    offset = np.argwhere(phantoms["iii"][0] == 0).mean(axis=0) - np.argwhere(phantoms["ii"][0] == 1).mean(axis=0)
    np.testing.assert_array_equal(2 * offset, [4, 0])
    for name in ("iv", "v"):
        np.testing.assert_array_equal(np.argwhere(phantoms[name][0] == 2), [[15, 15]])
    moved = np.argwhere(phantoms["v"][0] != 1).min(axis=0) - np.argwhere(phantoms["iv"][0] != 1).min(axis=0)
    np.testing.assert_array_equal(2 * moved, [2, 0])


def test_first_index_moves_the_inclusion() -> None:
    early, late = (geometric_phantom("ii", LABELS, first) for first in (12, 13))
    np.testing.assert_array_equal(early[:, :-1, :-1], late[:, 1:, 1:])


def test_parts_hold_every_medium_once() -> None:
    media = make_media(ENTRY)
    parts = [media.part(chunk, 6) for chunk in range(6)]
    assert [name for part in parts for name in part.names] == list(media.names)
    assert {len(part.names) for part in parts} == {3, 4}
    with pytest.raises(InputError, match="lower chunks to 20"):
        media.part(0, 21)


def test_media_return_from_their_file(tmp_path: Path) -> None:
    media = make_media(ENTRY)
    write_media(tmp_path / "media.h5", media)
    read = read_media(tmp_path / "media.h5")
    np.testing.assert_array_equal(read.labels, media.labels)
    assert (read.names, read.materials, read.voxel_mm) == (media.names, media.materials, media.voxel_mm)
    content = (tmp_path / "media.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    for name in ("cut.h5", "none.h5"):
        with pytest.raises(InputError, match="make it again"):
            read_media(tmp_path / name)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"materials": ["lung", "cheese"], "media": [{"kind": "homogeneous"}]}, "cheese"),
        ({"size": 30, "media": [{"kind": "homogeneous"}]}, "media/size"),
        ({"media": []}, "no medium"),
        ({"media": [{"kind": "homogeneous"}, {"kind": "homogeneous"}]}, "one twice"),
        ({"media": [{"kind": "random", "seed": 1, "count": 2}, {"kind": "random", "seed": 1, "count": 1}]}, "one twice"),
        ({"media": [{"kind": "spheres"}]}, "media/kind"),
        ({"media": [{"kind": "homogeneous", "seed": 1}]}, "unknown key 'seed'"),
        ({"media": [{"kind": "random", "seed": 1, "count": 1, "blobs": 2}]}, "unknown key 'blobs'"),
        ({"media": [{"kind": "random", "seed": 1, "count": 1, "kinds": {"blobs": 2}}]}, "media/kinds"),
        ({"media": [{"kind": "random", "seed": 1, "count": 1, "shape_size": [5, 2]}]}, "media/shape_size"),
        ({"media": [{"kind": "random", "seed": 1}]}, "count"),
        ({"media": [{"kind": "official", "seed": 1}]}, "official media needs its seed and count"),
        ({"media": [{"kind": "official", "seed": 1, "count": 1, "share": 0.2}]}, "unknown key 'share'"),
        ({"materials": ["water"], "media": [{"kind": "random", "seed": 1, "count": 1}]}, "two materials"),
        ({"size": 21, "media": [{"kind": "geometric"}]}, "media/geometric"),
        ({"media": [{"kind": "geometric", "phantoms": ["vi"]}]}, "media/phantoms"),
        ({"media": [{"kind": "geometric", "first_index": 3}]}, "media/first_index"),
    ],
)
def test_impossible_media_are_refused(entry: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_media(entry)
