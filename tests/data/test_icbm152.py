import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

from petbench.data.icbm152 import average_brain


def test_the_maps_are_those_that_nilearn_loads():
    for ours, load in zip(average_brain(), (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template), strict=True):
        theirs = load(resolution=1)
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
