"""What can be asked for by name: an experiment, or a paper, which is all of its experiments that the scale runs."""

import difflib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from petbench.errors import InputError
from petbench.plan.scale import Scale
from petbench.workflow.schema import read_yaml


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a scale.

    Attributes:
        config: The folder of the scales' files and of `experiments/`.
    """

    scale: Scale
    config: Path

    def experiments(self) -> dict[str, list[str]]:
        """The experiments that each target makes."""
        papers = {name: self.scale.entries["experiments"][name]["paper"] for name in self.scale.run}
        of_papers = {paper: [name for name in self.scale.run if papers[name] == paper] for paper in dict.fromkeys(papers.values())}
        return {name: [name] for name in self.scale.run} | of_papers

    def check(self, wanted: Iterable[str], rules: Collection[str]) -> None:
        """Check what the command line asks for, where that is no file.

        Raises:
            InputError: it is no target here; names the scales where it is one, or the nearest name.
        """
        for name in wanted:
            if name in rules or name in self.experiments() or "/" in name or Path(name).exists():
                continue
            if files := [file for file, targets in self._elsewhere().items() if name in targets]:
                raise InputError(f"{name}: not at scale {self.scale.name!r}; it is at that of {' and '.join(files)} (--configfile).")
            known = {*rules, *self.experiments(), *(target for targets in self._elsewhere().values() for target in targets)}
            close = difflib.get_close_matches(name, sorted(known), n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"those here are {', '.join(self.experiments())}."
            where = [file for file, targets in self._elsewhere().items() if close and close[0] in targets]
            there = f" It is at the scale of {' and '.join(where)}." if where and close[0] not in self.experiments() else ""
            raise InputError(f"{name}: there is no target of this name; {mend}{there}")

    def _elsewhere(self) -> dict[str, set[str]]:
        """Targets of each scale that lies beside the experiments, by the name of its file."""
        scales = {path: content for path in sorted(self.config.glob("*.yaml")) if "run" in (content := read_yaml(path))}
        papers = {path.stem: read_yaml(path).get("paper") for path in (self.config / "experiments").glob("*.yaml")}
        return {
            os.path.relpath(path): {*content["run"], *(str(papers.get(name)) for name in content["run"])}
            for path, content in scales.items()
        }
