"""The plan of one run: which job reads, writes and may see what."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from petbench.plan.acquisition import Acquisition
from petbench.plan.diagnosis import Diagnosis
from petbench.plan.evaluation import Evaluation
from petbench.plan.images import Images
from petbench.plan.page import Page
from petbench.plan.paths import Paths
from petbench.plan.positron_range import PositronRange
from petbench.plan.records import Records
from petbench.plan.reliance import Reliance
from petbench.plan.report import Report
from petbench.plan.scale import Entry, Scale
from petbench.plan.scans import Scans
from petbench.plan.subjects import Subjects
from petbench.plan.targets import Targets
from petbench.plan.trainings import Trainings
from petbench.plan.trial import Trial
from petbench.plan.verification import Verification
from petbench.workflow.code import code_hash


class Plan:
    """What follows from the resolved entries of a scale, a part a stage.

    Methods of a part that take wildcards are what rules name; the others take plain names and serve other parts, and rules by `of_job`.

    Args:
        entries: What `petbench.workflow.entries.load` returns.
        given: The configuration as it was given: the scale's `note`, and what the command line says of a lab's own scans.
        basedir: The folder of the Snakefile.
        untimed: Marks a file whose time does not count (Snakemake's `ancient`); by default none is marked.
    """

    def __init__(self, entries: Entry, given: Mapping[str, Any], basedir: Path, untimed: Callable[[str], str] = str) -> None:
        scale = self.scale = Scale(entries)
        paths = self.paths = Paths(scale.name, untimed, str(given.get("out") or "results/restored").replace("{", "{{").replace("}", "}}"))
        self.targets = Targets(scale, basedir / "config")

        def hashed(script: str, *modules: str) -> str:
            return code_hash(basedir / "scripts" / f"{script}.py", *(f"petbench.methods.{module}" for module in modules))

        self.code = cache(hashed)
        subjects = self.subjects = Subjects(scale)
        self.acquisition = Acquisition(scale, paths, subjects)
        images = self.images = Images(scale, paths, subjects)
        trainings = self.trainings = Trainings(scale, paths, subjects, images)
        known = (scale, paths, subjects, images, trainings)
        diagnosis = self.diagnosis = Diagnosis(*known)
        evaluation = self.evaluation = Evaluation(*known)
        reliance = self.reliance = Reliance(*known, evaluation)
        ranges = self.positron_range = PositronRange(scale, paths)
        self.records = Records(*known, diagnosis, reliance, ranges, self.code)
        printed, note = basedir / "resources" / "published", str(given.get("note", ""))
        self.report = Report(*known, evaluation, reliance, ranges, printed, note)
        self.page = Page(self.report, diagnosis)
        self.verification = Verification(scale, evaluation, diagnosis, ranges, self.records, self.report)
        self.trial = Trial(given, basedir)
        self.scans = Scans(paths, given, basedir / "config" / "schemas" / "methods")

    def check(self) -> None:
        """Prove, before any job starts, that nobody is restored or diagnosed by weights that saw them, and that raw data can be had.

        Raises:
            InputError: one sentence, or one a missing image.
        """
        self.trainings.check()
        self.diagnosis.check()
        self.acquisition.check()
        self.images.check()
