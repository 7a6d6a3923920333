"""What the parts of the plan are given that deal with trained methods."""

from dataclasses import dataclass

from petbench.plan.images import Images
from petbench.plan.paths import Paths
from petbench.plan.scale import Scale
from petbench.plan.subjects import Subjects
from petbench.plan.trainings import Trainings


@dataclass(frozen=True, eq=False)
class AfterTraining:
    """A part of the plan that follows from who is trained on and restored."""

    scale: Scale
    paths: Paths
    subjects: Subjects
    images: Images
    trainings: Trainings
