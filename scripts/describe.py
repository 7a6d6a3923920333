"""Describe a phantom data set as BIDS asks."""

from importlib.metadata import version

from petbench.data.bids import write_dataset_description, write_participants
from petbench.data.phantom import REFERENCES
from petbench.workflow.job import job

with job(snakemake) as run:
    subjects, copies = run.params.subjects, run.params.copies
    write_dataset_description(run.output.description, run.params.name, REFERENCES[run.params.source], version("petbench"))
    columns = {key: [copies[subject][key] for subject in subjects] for key in ("phantom", "rotation_deg")} if copies else {}
    if run.params.labels:
        columns["diagnosis"] = [run.params.labels[subject] for subject in subjects]
    write_participants(run.output.participants, [f"sub-{subject}" for subject in subjects], columns)
