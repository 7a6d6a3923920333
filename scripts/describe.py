"""Describe a phantom data set as BIDS asks."""

from petbench.data.bids import write_dataset_description, write_participants
from petbench.data.phantom import REFERENCES
from petbench.workflow.job import job

with job(snakemake) as run:
    write_dataset_description(run.output.description, run.params.name, REFERENCES)
    write_participants(run.output.participants, [f"sub-{subject}" for subject in run.params.subjects])
