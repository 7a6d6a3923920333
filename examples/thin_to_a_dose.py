"""Draw a low dose from a scan by keeping each count with a probability, and reconstruct both.

`python examples/thin_to_a_dose.py results/demo/mni/acquisition/sub-01_acq-standard.h5 config/scanners/demo.yaml 0.04`

A shorter scan has fewer counts, and exactly Poisson ones. A smaller activity has fewer randoms still: docs/acquisition.md.
"""

import sys
from pathlib import Path

from petbench.physics.acquisition import read_acquisition
from petbench.physics.dose_images import at_dose, image_of
from petbench.physics.doses import Dose
from petbench.physics.scanner import Scanner
from petbench.workflow.schema import read_yaml

path, scanner_file, fraction = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
scanner = Scanner.from_entry(read_yaml(scanner_file))
standard = read_acquisition(path, scanner)
low = at_dose(standard, Dose("fraction", fraction, "thinning", fraction, fraction), seed=1)

reconstruction = {"iterations": 3, "subsets": 12, "psf_mm": 0.0, "post_filter_mm": 4.0}
images = {name: image_of(scan, reconstruction, scanner) for name, scan in (("standard", standard), ("low", low))}
kept = low.data.prompts.sum() / standard.data.prompts.sum()
head = images["standard"] > 0.2 * images["standard"].max()
level = images["low"][head].mean() / images["standard"][head].mean()
noise = (images["low"] - images["standard"])[head].std() / images["standard"][head].mean()
print(f"{kept:.4f} of the counts; level {level:.3f} of the standard dose's, noise {noise:.2f} of it")
