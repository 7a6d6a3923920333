from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.positron_range.psf_set import Origin, PsfSet, merge_psf_sets, read_psf_set, write_psf_set

ORIGIN = Origin("Ga68", 2.0, "point", "embedded", "option 1", "10.1", 5)


def made_up(*names: str, size: int = 5, origin: Origin = ORIGIN) -> PsfSet:
    rng = np.random.default_rng(len(names) + size)
    counts = rng.integers(0, 1000, (len(names), size, size, size), dtype=np.uint32)
    outside = rng.integers(0, 10, len(names), dtype=np.uint32)
    mu = rng.random(counts.shape, dtype=np.float32)
    return PsfSet(names, mu, counts, outside, counts.sum(axis=(1, 2, 3)).astype(np.uint32) + outside, origin)


def assert_equal(one: PsfSet, other: PsfSet) -> None:
    assert (one.names, one.origin) == (other.names, other.origin)
    for key in ("mu", "counts", "outside", "positrons"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
        assert getattr(one, key).dtype == getattr(other, key).dtype


def test_a_set_returns_from_its_file(tmp_path: Path) -> None:
    psfs = made_up("a", "b")
    write_psf_set(tmp_path / "set.h5", psfs)
    assert_equal(read_psf_set(tmp_path / "set.h5"), psfs)
    assert [path.name for path in tmp_path.iterdir()] == ["set.h5"]


def test_chunks_join_in_order(tmp_path: Path) -> None:
    parts = [made_up("a", "b"), made_up("c"), made_up("d", "e", "f")]
    paths = [tmp_path / f"{number}.h5" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        write_psf_set(path, part)
    merge_psf_sets(paths, tmp_path / "all.h5")
    joined = read_psf_set(tmp_path / "all.h5")
    assert joined.names == tuple("abcdef")
    assert joined.kernel_size == 5
    np.testing.assert_array_equal(joined.counts[3:], parts[2].counts)
    np.testing.assert_array_equal(joined.mu[2], parts[1].mu[0])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (made_up("c", origin=replace(ORIGIN, isotope="F18")), "isotope"),
        (made_up("c", origin=replace(ORIGIN, voxel_mm=3.0)), "voxel_mm"),
        (made_up("c", origin=replace(ORIGIN, physics="option 2")), "physics"),
        (made_up("c", size=7), "kernel size"),
        (made_up("b"), "medium b is in another chunk"),
    ],
)
def test_chunks_of_another_kind_are_refused(tmp_path: Path, other: PsfSet, says: str) -> None:
    write_psf_set(tmp_path / "one.h5", made_up("a", "b"))
    write_psf_set(tmp_path / "two.h5", other)
    with pytest.raises(InputError, match=rf"two\.h5: .*{says}"):
        merge_psf_sets([tmp_path / "one.h5", tmp_path / "two.h5"], tmp_path / "all.h5")
    assert not (tmp_path / "all.h5").exists()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    import h5py

    write_psf_set(tmp_path / "set.h5", made_up("a", "b"))
    content = (tmp_path / "set.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["mu"] = np.zeros(3)
    for name in ("cut.h5", "text.h5", "other.h5", "none.h5"):
        with pytest.raises(InputError, match=rf"{name}: no readable set"):
            read_psf_set(tmp_path / name)


def test_counts_must_add_up_to_the_positrons(tmp_path: Path) -> None:
    psfs = made_up("a", "b")
    write_psf_set(tmp_path / "set.h5", replace(psfs, positrons=psfs.positrons + 1))
    with pytest.raises(InputError, match="do not add up"):
        read_psf_set(tmp_path / "set.h5")
