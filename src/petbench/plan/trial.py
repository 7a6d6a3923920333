"""A method that an author tries before any data are there: `snakemake try --config method=NAME`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.plan.scale import Wildcards
from petbench.workflow.library import Library
from petbench.workflow.schema import read_yaml


@dataclass(frozen=True)
class Trial:
    """What is tried: an entry at this scale, whether or not an experiment runs it.

    Attributes:
        given: The configuration as it was given, with the command line's `method`.
        basedir: The folder of the Snakefile.
    """

    given: Mapping[str, Any]
    basedir: Path

    # what the rule names
    def method(self, wildcards: Wildcards) -> dict[str, Any]:
        """The entry, with the name and the window of its domain as the scale's data sets have it.

        Raises:
            InputError: no method is named, or it has no training of its own, or no data set has windows of its domain.
        """
        if "method" not in self.given:
            raise InputError("try: give a method on the command line: --config method=NAME.")
        folders = (self.basedir / "config", *(self.basedir / folder for folder in self.given.get("entries", [])))
        library = Library(folders, self.given.get("override", {}), f"scale {self.given['scale']!r}")
        name = str(self.given["method"])
        entry = library.resolve_whole("methods", name, "try: --config method")
        if "train" not in entry:
            raise InputError(f"try: {name} has no training of its own; try the method whose weights it is restored by.")
        return {"name": name, **entry, "window": self._window(library, entry["train"]["domain"])}

    def _window(self, library: Library, domain: str) -> list[int]:
        """The smallest window that the scale's data sets give a domain."""
        windows = []
        for path in sorted((self.basedir / "config" / "datasets").glob("*.yaml")):
            if domain in read_yaml(path).get("domains", {}) or domain in self.given.get("override", {}).get("datasets", {}).get(
                path.stem, {}
            ):
                entry = library.resolve_whole("datasets", path.stem, "try")
                windows += [entry["domains"][domain]["window"]] if domain in entry.get("domains", {}) else []
        if not windows:
            raise InputError(f"try: no data set has a domain {domain!r}; add domains/{domain} to one, or train on another domain.")
        return min(windows, key=lambda window: window[0] * window[1] * window[2])
