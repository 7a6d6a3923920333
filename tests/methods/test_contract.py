"""The contract: every method and predictor of `config/` does what the study asks of it, at the widths of the scale `tiny`.

A new entry is held to it by being there. Where a law cannot bind an entry, EXEMPT says why.
"""

from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from petbench.files import digest
from petbench.methods.build import build, modules
from petbench.positron_range.predictor import make_network
from petbench.positron_range.predictor_training import PsfTraining
from petbench.training.probes import contract, every_part_moves, lives, restores, resumes, size
from petbench.workflow.entries import Library
from petbench.workflow.schema import read_yaml

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "config",)
LIBRARY = Library(FOLDERS, read_yaml(ROOT / "tests/config/tiny.yaml")["override"], "tiny")
METHODS = {name: LIBRARY.resolve_whole("methods", name) for name in sorted(LIBRARY.files["methods"])}
PUBLISHED = Library(FOLDERS, {}, "published")
SIZES = {name: entry for name in METHODS if "size" in (entry := PUBLISHED.resolve_whole("methods", name))}
PREDICTORS = sorted(LIBRARY.files["predictors"])
# Windows by domain, as small as the networks take: attention at the coarsest grid still has two places to attend to.
WINDOWS = {"patches": (16, 8, 8), "volumes": (32, 16, 16), "axial": (16, 16), "coronal": (16, 16), "sagittal": (16, 16)}
# Of `train`, what a probe has its own of.
REPLACED = ("domain", "steps", "epochs", "batch_size", "schedule")
