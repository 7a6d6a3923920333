"""Train one method on one fold."""

from pathlib import Path

from petbench.files import read_json
from petbench.restoration.weights import Description
from petbench.training.fit import fit
from petbench.workflow.job import job

with job(snakemake) as run:
    people = [read_json(path) for path in run.input.data]
    scans, place = [person.get("scan", {}) for person in people], run.wildcards
    description = Description(
        module=run.params.module,
        train=run.params.method,
        preprocess=run.params.preprocess,
        window=people[0]["window"],
        voxel_mm=people[0]["voxel_mm"],
        dataset=place.dataset,
        dose=place.dose,
        fold=place.fold,
        code=run.params.code,
        domain=run.params.domain,
        inputs=run.params.inputs,
        scans=[scan for number, scan in enumerate(scans) if scan not in scans[:number]],
        people=[person["measures"] for person in people],
    )
    fit(
        description,
        run.input.data,
        kinds=run.params.kinds,
        checkpoints=Path(run.output.weights).parent / "checkpoints",
        device=run.device,
        threads=run.threads,
        out=dict(run.output.items()),
        init=next(iter(run.input.init), None),
        part=run.params.part,
        contexts=list(run.input.contexts),
        acquisitions=list(run.input.acquisitions),
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
    )
