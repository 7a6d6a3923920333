"""Positron range: which runs of Monte Carlo, kernels and scans the experiments of DDConv are made from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from petbench.plan.paths import Paths
from petbench.plan.scale import Entry, Scale, Wildcards
from petbench.report.range_figures import FIGURES

MEDIA_KEYS = ("materials", "size", "voxel_mm", "media")


@dataclass(frozen=True, eq=False)
class PositronRange:
    """PSF sets, predictors, torsos, and the experiments on them."""

    scale: Scale
    paths: Paths

    def of_kind(self, *kinds: str) -> list[str]:
        """Experiments of some kinds."""
        return [name for name, entry in self.scale.ranges.items() if entry["kind"] in kinds]

    def figures(self, experiment: str) -> list[str]:
        """Names of the figures of an experiment."""
        return list(FIGURES[self.scale.ranges[experiment]["kind"]])

    def trained(self, imported: bool = False) -> list[str]:
        """Predictors with a training of their own, or those whose weights are taken from a file."""
        return [name for name, entry in self.scale.predictors.items() if ("weights" in entry) == imported]

    def predictors(self, experiment: str) -> list[str]:
        """Predictors of an experiment."""
        entry = self.scale.ranges[experiment]
        return list(entry["predictors"]) if "predictors" in entry else [entry["predictor"]]

    def scanned(self, experiment: str) -> Entry:
        """The block of an experiment that says what is scanned."""
        entry = self.scale.ranges[experiment]
        block: Entry = entry.get("scan", entry)
        return block

    def corrections(self, experiment: str) -> Iterator[tuple[str, str]]:
        """Strategy and number of each corrected reconstruction of an experiment."""
        entry = self.scale.ranges[experiment]
        for strategy in entry["strategies"]:
            yield from ((strategy, str(number)) for number in range(1, entry.get("realisations", 1) + 1))

    # files
    def volumes(self, torso: str) -> dict[str, str]:
        """Paths of a torso's volumes."""
        paths = {"activity": self.paths.torso_activity, "mu": self.paths.torso_mu, "lesions": self.paths.torso_lesions}
        return {kind: path.format(torso=torso) for kind, path in paths.items()}

    def kernels(self, predictor: str) -> dict[str, str]:
        """What kernels come from: the trained predictor and the homogeneous materials."""
        weights, materials = self.paths.predictor.format(predictor=predictor), self.scale.predictors[predictor]["kernels"]
        return {"weights": weights, "kernels": self.paths.psf.format(psf_set=materials)}

    def sources(self, strategy: str, predictor: str) -> dict[str, str]:
        """What a strategy takes its kernels from; without correction nothing."""
        return {} if strategy == "none" else self.kernels(predictor)

    def torso_sources(self, strategy: str, torso: str, predictor: str) -> dict[str, str]:
        """What a strategy takes a torso's kernels from; DDConv's are predicted once a torso."""
        predicted = self.paths.predicted_kernels.format(torso=torso, predictor=predictor)
        return self.sources(strategy, predictor) | ({"predicted": predicted} if strategy == "ddconv" else {})

    def results(self, experiment: str) -> dict[str, list[str]]:
        """All that the tables and figures of an experiment show, by kind."""
        of_kind = {
            "range_accuracy": self._accuracy,
            "range_reconstruction": self._reconstruction,
            "range_scan": self._scan,
        }
        return of_kind[self.scale.ranges[experiment]["kind"]](experiment)

    def _accuracy(self, experiment: str) -> dict[str, list[str]]:
        predictors, torso = self.predictors(experiment), self.scale.ranges[experiment]["torso"]
        own, paths = {"experiment": experiment, "predictor": predictors[0]}, self.paths
        return {
            "distances": [paths.kernel_distances.format(experiment=experiment, predictor=name) for name in predictors],
            "profiles": [paths.kernel_profiles.format(**own)],
            "kernels": [paths.kernels.format(**own)],
            "torso_distances": [paths.torso_distances.format(**own)],
            "torso_profiles": [paths.torso_profiles.format(**own)],
            "torso_images": [paths.torso_images.format(**own)],
            "lesions": [paths.torso_lesions.format(torso=torso)],
            "truncation": [paths.truncation.format(**own)],
        }

    def _reconstruction(self, experiment: str) -> dict[str, list[str]]:
        entry = self.scale.ranges[experiment]
        own = [{"experiment": experiment, "strategy": strategy, "realisation": "1"} for strategy in entry["strategies"]]
        return {
            "summary": [self.paths.summary.format(experiment=experiment)],
            "profiles": [self.paths.profiles.format(**strategy) for strategy in own],
            "images": [self.paths.corrected.format(**strategy) for strategy in own],
            "sidecars": [self.paths.corrected_sidecar.format(**strategy) for strategy in own],
            **{kind: [path] for kind, path in self.volumes(entry["torso"]).items()},
        }

    def _scan(self, experiment: str) -> dict[str, list[str]]:
        own = [{"experiment": experiment, "strategy": strategy} for strategy in self.scale.ranges[experiment]["strategies"]]
        return {
            "profiles": [self.paths.scan_profiles.format(experiment=experiment)],
            "images": [self.paths.corrected_scan.format(**strategy) for strategy in own],
            "sidecars": [self.paths.corrected_scan_sidecar.format(**strategy) for strategy in own],
        }

    def measures(self, experiment: str) -> list[str]:
        """The measures of every strategy and realisation of an experiment."""
        return [
            self.paths.measures.format(experiment=experiment, strategy=strategy, realisation=number)
            for strategy, number in self.corrections(experiment)
        ]

    def measured(self, experiment: str) -> dict[str, Any]:
        """What each of these was taken from, by its path, for `petbench.report.verify`."""
        volumes, options = self.volumes(self.scale.ranges[experiment]["torso"]), self._given(experiment, "background_mm", "profiled")
        plan = {}
        for strategy, number in self.corrections(experiment):
            own = {"experiment": experiment, "strategy": strategy, "realisation": number}
            plan[self.paths.measures.format(**own)] = {
                "images": self.paths.corrected.format(**own),
                "sidecar_path": self.paths.corrected_sidecar.format(**own),
                "torso": volumes,
                "model": strategy,
                "realisation": int(number),
                **options,
            }
        return plan

    def _given(self, experiment: str, *keys: str) -> dict[str, Any]:
        """Those of an experiment's keys that it gives; the others are the library's to choose."""
        entry = self.scale.ranges[experiment]
        return {key: entry[key] for key in keys if key in entry}

    # what rules name
    def media(self, wildcards: Wildcards) -> Entry:
        """What the media of a PSF set depend on."""
        entry = self.scale.psf_sets[wildcards.psf_set]
        return {key: value for key, value in entry.items() if key in MEDIA_KEYS}

    def _calibration(self, gate: Entry) -> dict[str, str]:
        """The constants of a block that asks for some."""
        return {"calibration": self.paths.calibration.format(calibration=gate["calibration"])} if "calibration" in gate else {}

    def to_transport(self, wildcards: Wildcards) -> dict[str, str]:
        """The media of a PSF set, and the constants of its engine."""
        media = self.paths.media.format(psf_set=wildcards.psf_set)
        return {"media": media, **self._calibration(self.scale.psf_sets[wildcards.psf_set]["gate"])}

    def to_annihilate(self, wildcards: Wildcards) -> dict[str, str]:
        """The volumes of a torso, and the constants of its engine."""
        return {**self.volumes(wildcards.torso), **self._calibration(self.scale.torsos[wildcards.torso]["gate"])}

    def gpus(self, wildcards: Wildcards) -> int:
        """GPUs of a job that transports positrons: Geant4 uses none."""
        return int(self._fast(wildcards))

    def threads(self, wildcards: Wildcards) -> int:
        """Its threads: Geant4 runs on one."""
        return 8 if self._fast(wildcards) else 1

    def minutes(self, wildcards: Wildcards) -> int:
        """Its minutes."""
        return 60 if self._fast(wildcards) else 240

    def _fast(self, wildcards: Wildcards) -> bool:
        torso = getattr(wildcards, "torso", None)
        entry = self.scale.torsos[torso] if torso else self.scale.psf_sets[wildcards.psf_set]
        return bool(entry["gate"].get("engine", "gate") == "fast")

    def psf_chunks(self, wildcards: Wildcards) -> list[str]:
        """The chunks of a PSF set, in order."""
        count = self.scale.psf_sets[wildcards.psf_set]["chunks"]
        return [self.paths.psf_chunk.format(psf_set=wildcards.psf_set, chunk=chunk) for chunk in range(count)]

    def psf_sets(self, wildcards: Wildcards) -> list[str]:
        """The PSF sets that a predictor is trained on."""
        return [self.paths.psf.format(psf_set=name) for name in self.scale.predictors[wildcards.predictor]["psf_sets"]]

    def published_weights(self, wildcards: Wildcards) -> str:
        """The file that a predictor's weights are taken from."""
        path: str = self.scale.predictors[wildcards.predictor]["weights"]["file"]
        return path

    def supplied(self, wildcards: Wildcards) -> list[str]:
        """The volumes of a torso that a lab supplies."""
        given = self.scale.torsos[wildcards.torso]["torso"].get("supplied", {})
        return [given[kind] for kind in ("activity", "mu", "lesions") if kind in given]

    def torso_scanner(self, wildcards: Wildcards) -> Entry:
        """The entry of a torso's scanner."""
        return self.scale.scanners[self.scale.torsos[wildcards.torso]["scanner"]]

    def annihilation_chunks(self, wildcards: Wildcards) -> list[str]:
        """Chunks of a torso's annihilations: of either half, which are independent runs, or all."""
        chunks = self.scale.torsos[wildcards.torso]["chunks"]
        chosen = {"1": range(chunks // 2), "2": range(chunks // 2, chunks), "all": range(chunks)}[wildcards.part]
        return [self.paths.annihilation_chunk.format(torso=wildcards.torso, chunk=chunk) for chunk in chosen]

    def to_predict(self, wildcards: Wildcards) -> dict[str, str]:
        """A torso, and what its kernels are predicted by."""
        return {**self.kernels(wildcards.predictor), **self.volumes(wildcards.torso)}

    def _shared(self, predictor: str) -> Entry:
        block: Entry = self.scale.predictors[predictor].get("apply", {})
        return block

    # what rules of experiments name
    def given(self, *keys: str) -> Callable[[Wildcards], dict[str, Any]]:
        """A function of wildcards: those of an experiment's keys that it gives; the others are the library's to choose."""
        return lambda wildcards: self._given(wildcards.experiment, *keys)

    def of_scan(self, key: str) -> Callable[[Wildcards], Any]:
        """A function of wildcards that takes a block of what an experiment scans."""
        return lambda wildcards: self.scanned(wildcards.experiment)[key]

    def titles(self, experiment: str) -> dict[str, str]:
        """Titles of an experiment's predictors."""
        return {name: self.scale.predictors[name]["title"] for name in self.predictors(experiment)}

    def scanner(self, experiment: str) -> Entry:
        """The entry of an experiment's scanner."""
        block = self.scanned(experiment)
        return self.scale.scanners[block["scanner"] if "scanner" in block else self.scale.torsos[block["torso"]]["scanner"]]

    def applied(self, wildcards: Wildcards) -> Entry:
        """How the kernels of an experiment's first predictor are shared and stored."""
        return self._shared(self.predictors(wildcards.experiment)[0])

    def kernel_options(self, wildcards: Wildcards) -> dict[str, Any]:
        """How kernels are compared, and which media share one."""
        return self._given(wildcards.experiment, "epsilon") | {"settings": self._shared(wildcards.predictor)}

    def kernels_compared(self, wildcards: Wildcards) -> dict[str, Any]:
        """Two runs of GATE, what a predictor's kernels are made from, and the fast engine's kernels of the same media, where there are."""
        entry = self.scale.ranges[wildcards.experiment]
        runs = [self.paths.psf.format(psf_set=name) for name in entry["runs"]]
        fast = {"fast": self.paths.psf.format(psf_set=entry["fast"])} if "fast" in entry else {}
        return {"runs": runs, **fast, **self.kernels(wildcards.predictor)}

    def torsos_compared(self, wildcards: Wildcards) -> dict[str, Any]:
        """Two runs of a torso, and what blurs it: the experiment's first predictor."""
        torso, predictor = self.scale.ranges[wildcards.experiment]["torso"], self.predictors(wildcards.experiment)[0]
        runs = [self.paths.annihilations.format(torso=torso, part=part) for part in ("1", "2")]
        return {"runs": runs, **self.torso_sources("ddconv", torso, predictor), **self.volumes(torso)}

    def materials(self, wildcards: Wildcards) -> str:
        """The kernels of homogeneous materials that an experiment cuts short."""
        return self.kernels(self.predictors(wildcards.experiment)[0])["kernels"]

    def to_scan(self, wildcards: Wildcards) -> dict[str, str]:
        """A torso and where its positrons annihilate."""
        torso = self.scanned(wildcards.experiment)["torso"]
        return {"annihilations": self.paths.annihilations.format(torso=torso, part="all"), **self.volumes(torso)}

    def to_reconstruct(self, wildcards: Wildcards) -> dict[str, str]:
        """A scan of a torso, and what a strategy takes its kernels from."""
        entry = self.scale.ranges[wildcards.experiment]
        scan = self.paths.torso_scan.format(experiment=wildcards.experiment, realisation=wildcards.realisation)
        sources = self.torso_sources(wildcards.strategy, entry["torso"], entry["predictor"])
        return {"acquisition": scan, **sources, **self.volumes(entry["torso"])}

    def to_correct(self, wildcards: Wildcards) -> dict[str, str]:
        """A lab's scan and attenuation, or those simulated in their place, and what a strategy takes its kernels from."""
        entry = self.scale.ranges[wildcards.experiment]
        scan, sources = entry["scan"], self.sources(wildcards.strategy, entry["predictor"])
        if "torso" not in scan:
            return {"acquisition": scan["acquisition"], "mu": scan["mu"], **sources}
        simulated = self.paths.torso_scan.format(experiment=wildcards.experiment, realisation=1)
        return {"acquisition": simulated, "mu": self.volumes(scan["torso"])["mu"], **sources}

    def reconstructed(self, wildcards: Wildcards) -> dict[str, str]:
        """The volumes of the torso that an experiment reconstructs."""
        return self.volumes(self.scale.ranges[wildcards.experiment]["torso"])

    def corrected_scans(self, wildcards: Wildcards) -> list[str]:
        """A scan as each strategy corrects it."""
        return self.results(wildcards.experiment)["images"]
