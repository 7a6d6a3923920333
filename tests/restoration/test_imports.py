"""What a job imports decides how fast it starts and what a machine must have installed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("petbench.restoration.restore", "torch._dynamo"),
        ("petbench.preprocess.prepare", "torch"),
        ("petbench.evaluation.evaluate", "torch"),
        ("petbench.physics.simulate", "torch"),
    ],
)
def test_imports_stay_light(module, absent):
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
