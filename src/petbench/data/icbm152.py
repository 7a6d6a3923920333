"""The average brain that nilearn carries: ICBM152 2009a nonlinear symmetric, 1 mm (Fonov et al., NeuroImage 54 (2011) 313)."""

from importlib.util import find_spec
from pathlib import Path

from petbench.data.nifti import Image, read_frames

MAPS = ("t1", "gm", "wm")


def average_brain() -> tuple[Image, Image, Image]:
    """T1-weighted brain without its skull, grey and white matter, each scaled to a maximum of one.

    As `nilearn.datasets.load_mni152_template` and its like give them; nilearn itself takes longer to import than a head to make.
    """
    spec = find_spec("nilearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "datasets/data"
    t1, grey, white = (_scaled(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz") for name in MAPS)
    return t1, grey, white


def _scaled(path: Path) -> Image:
    data, affine = read_frames(path)
    return Image(data / data.max(), affine)
