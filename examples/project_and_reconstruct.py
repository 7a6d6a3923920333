"""Scan a phantom and reconstruct it: `python examples/project_and_reconstruct.py`."""

from pathlib import Path

import numpy as np

from petbench.physics.counts import poisson
from petbench.physics.operators import ForwardModel, attenuation_factors
from petbench.physics.projectors import projector_of
from petbench.physics.reconstruction import osem, post_filter
from petbench.physics.scanner import Scanner
from petbench.workflow.schema import read_yaml

scanner = Scanner.from_entry(read_yaml(Path("config/scanners/head_demo.yaml")))

# A head of 18 cm and 10 kBq/ml with a hot ball of four times as much; water attenuates .096 per cm at 511 keV.
x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in scanner.image_shape), indexing="ij")
x, y, z = (axis * edge for axis, edge in zip((x, y, z), scanner.voxel_mm, strict=True))
head = (x**2 + y**2 < 90**2) & (np.abs(z) < 60)
hot = (x - 40) ** 2 + y**2 + z**2 < 20**2
truth = (10_000.0 * head + 30_000.0 * hot).astype(np.float32)
mu = (0.096 * head).astype(np.float32)

projector = projector_of(scanner)
model = ForwardModel(projector, attenuation_factors(projector, mu))
trues = model(truth)
scale = 5e6 / trues.sum()  # counts per Bq/ml cm: five million trues
background = np.full_like(trues, 0.2 * scale * trues.mean())
model = ForwardModel(projector, model.factors, scale, background=background)
counts = poisson(model.expected(truth), seed=1)

image = post_filter(osem(model, counts, iterations=3, subsets=8), 6.0, scanner)
inside = (x - 40) ** 2 + y**2 + z**2 < 10**2
print(f"{counts.sum():,} counts; hot ball {image[inside].mean():,.0f} of {truth[inside].mean():,.0f} Bq/ml")
