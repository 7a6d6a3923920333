"""Restore one volume with trained weights, step by step: what `snakemake restore` does, without its checks and page.

`python examples/restore_a_volume.py results/demo/mni/drf4/m_unet/fold-0/model.safetensors PET.nii.gz MR_IN_PET_SPACE.nii.gz OUT.nii.gz`
"""

import sys

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.preprocess.prepare import normalise
from petbench.preprocess.windows import half
from petbench.restoration.restore import stitch
from petbench.restoration.weights import load_restorer

weights, pet, mr, out = sys.argv[1:5]
restorer, description = load_restorer(weights, "cpu")

# Onto the grid that the weights were trained on, and scaled as their training data were: by the low dose alone.
images = {"low_dose": read_volume(pet), "mr": read_volume(mr)}
grid = description.preprocess["grid"] | {"voxel_mm": description.voxel_mm}
prepared = normalise(images, {"low_dose": pet, "mr": mr}, {"grid": grid, "scaling": description.preprocess["scaling"]})

# Window by window, half overlapping, then back to the scan's units.
low_dose, anatomy = prepared.volumes["low_dose"], prepared.volumes["mr"]
restored = stitch(restorer, low_dose, anatomy, description.window, half(description.window), 8, "cpu")
restored *= prepared.scales["low_dose"]
write_volume(out, restored, volume(restored, prepared.affine))
print(f"{out}: mean {restored.mean():,.0f}, of the low dose {low_dose.mean() * prepared.scales['low_dose']:,.0f}")
