"""Reconstruct a Ga-68 source in lung beside water with and without its positrons' range in the model.

`python examples/correct_positron_range.py results/demo/positron_range/psf_sets/ga68_materials/psf.h5`: point spread functions in
homogeneous materials by GATE. With a trained predictor as well, `positron_range("ddconv", ..., weights=FILE)` is the operator of DDConv.
"""

import sys

import numpy as np

from petbench.physics.counts import poisson
from petbench.physics.materials import material
from petbench.physics.operators import ForwardModel
from petbench.physics.projectors import projector_of
from petbench.physics.reconstruction import osem
from petbench.physics.scanner import Scanner
from petbench.positron_range.operators import positron_range
from petbench.positron_range.psf_set import read_psf_set

kernels = sys.argv[1]
origin = read_psf_set(kernels).origin
edge = origin.voxel_mm
scanner = Scanner("a small scanner", 200.0, 256, "uniform", 48, edge, 48, 16, edge, (44, 44, 16), (edge,) * 3, 40 * edge)

x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in scanner.image_shape), indexing="ij")
mu = np.where(x < 0, material("lung").mu_per_cm, material("water").mu_per_cm).astype(np.float32)
hot = (np.abs(x) < 6) & (np.abs(y) < 6) & (np.abs(z) < 4)
truth = (20_000.0 * hot).astype(np.float32)

# Annihilations lie where positrons end: the scan is of those, so the operator stands before the projector.
blur = positron_range("svtd", mu, (edge,) * 3, origin.isotope, kernels=kernels)
model = ForwardModel(projector_of(scanner), image_operators=(blur,))
model = ForwardModel(model.projector, scale=float(1e7 / model(truth).sum()), image_operators=(blur,))
counts = poisson(model.expected(truth), seed=1)

blind = ForwardModel(model.projector, scale=model.scale)
for name, used in (("without", blind), ("with", model)):
    image = osem(used, counts, iterations=10, subsets=8)
    lung, water = (image[hot & side].mean() for side in (x < 0, x > 0))
    print(f"{name} positron range: {lung:,.0f} Bq/ml in lung, {water:,.0f} in water, of 20,000")
