"""Write a list-mode scan of the Biograph mMR's ring as PETSIRD, read it back as another program's file would be, and reconstruct it.

`python examples/reconstruct_petsird.py scan.petsird`

A PETSIRD file has events alone: attenuation, scatter and randoms are the reader's to give. Here nothing attenuates.
"""

import sys

import numpy as np

from petbench.physics.acquisition import Acquisition
from petbench.physics.dose_images import image_of
from petbench.physics.doses import Dose
from petbench.physics.events import events_from_sinogram
from petbench.physics.petsird_files import read_petsird, write_petsird
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import acquire

path = sys.argv[1]
scanner = Scanner.from_entry(
    {"name": "a ring", "ring_radius_mm": 334.7, "crystals_per_ring": 128, "radial": "arc", "radial_bins": 43, "views": 64}
    | {"planes": 9, "plane_spacing_mm": 6.0, "image": {"shape": [32, 32, 9], "voxel_mm": [10.0, 10.0, 6.0]}, "fov_mm": 310.0}
)
truth = np.zeros(scanner.image_shape, np.float32)
truth[10:22, 10:22, 2:7] = 10_000.0  # Bq/ml
simulation = {"counts": 2e5, "psf_mm": 0.0, "randoms_fraction": 0.0, "scatter_fraction": 0.0}
scan = acquire(truth, None, scanner, simulation, Dose("fraction", 1.0, "thinning", 1.0, 1.0), seed=0)
events = events_from_sinogram(scan.data, 60.0, "F18", seed=1)
write_petsird(path, Acquisition(events, scan.factors, scan.scale, scan.geometry, scan.isotope, 60.0), scanner)

read = read_petsird(path, scanner, "direct")
again = Acquisition(read.events, np.ones_like(scan.factors), scan.scale, "direct", "F18", 60.0)
image = image_of(again, {"iterations": 4, "subsets": 4, "psf_mm": 0.0, "post_filter_mm": 0.0}, scanner)
inside, outside = truth > 0, truth == 0
print(f"{read.events.counts} events of {read.model}, {read.outside} beyond its bins")
print(f"mean {image[inside].mean():.0f} Bq/ml where there are 10000, {image[outside].mean():.0f} elsewhere")
