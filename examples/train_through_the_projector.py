"""Train a network by what its image would measure: gradients flow through projector, attenuation and background.

`python examples/train_through_the_projector.py`. No standard dose is needed: a small network learns to make, of a noisy reconstruction, an
image that explains the counts of a second scan of the same head (the likelihood of counts that it has not seen).
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from petbench.physics.counts import poisson, thin
from petbench.physics.operators import ForwardModel
from petbench.physics.projectors import projector_of
from petbench.physics.reconstruction import osem
from petbench.physics.scanner import Scanner
from petbench.workflow.schema import read_yaml

torch.manual_seed(0)
scanner = Scanner.from_entry(read_yaml(Path("config/scanners/head_demo.yaml")))
x, y, z = np.meshgrid(
    *(edge * (np.arange(n) - (n - 1) / 2) for n, edge in zip(scanner.image_shape, scanner.voxel_mm, strict=True)), indexing="ij"
)
truth = np.float32(10_000) * ((x**2 + y**2 < 80**2) & (abs(z) < 60)) * (1 + 2 * ((x - 30) ** 2 + y**2 + z**2 < 25**2))

model = ForwardModel(projector_of(scanner))
model = ForwardModel(model.projector, scale=float(2e5 / model(truth).sum()))
counts = poisson(model.expected(truth), seed=1)
half = thin(counts, 0.5, seed=2)  # two scans of half the counts, independent of each other
others = torch.from_numpy((counts - half).astype(np.float32))
halved = ForwardModel(model.projector, scale=model.scale / 2)
noisy = torch.from_numpy(osem(halved, half, iterations=4, subsets=8) / 10_000)

network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 3, padding=1))
optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
seen = halved.to("cpu")


def restore() -> torch.Tensor:
    """The image in 10 kBq/ml: the reconstruction and what the network adds, above zero."""
    return nn.functional.softplus(noisy + network(noisy[None, None])[0, 0], beta=50)


def error(image: torch.Tensor) -> float:
    """Root mean square of its distance from the truth, in Bq/ml."""
    return float((10_000 * image - torch.from_numpy(truth)).square().mean().sqrt())


print(f"reconstruction: {error(noisy):,.0f} Bq/ml from the truth")
STEPS = 32
for _ in range(STEPS):
    expected = seen.expected(10_000 * restore()) + 1e-3
    loss = (expected - others * expected.log()).mean()  # Poisson, of the other half
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
print(f"after {STEPS} steps: {error(restore().detach()):,.0f} Bq/ml from the truth, which it never saw")
