"""petbench: from raw PET/MR data to the result tables of five papers."""

import os
import sys

from petbench.errors import InputError
from petbench.plan.scans import TYPED
from petbench.workflow.entries import load
from petbench.workflow.progress import follow
from petbench.workflow.typed import keep_typed
from snakemake.cli import get_argument_parser

# A waiting thread soon sleeps: by default it spins so long that two jobs on one machine slow each other down twentyfold.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if workflow.is_main_process and "snakemake" in sys.argv[0]:
    keep_typed(get_argument_parser().parse_known_args()[0].config or (), TYPED, config, workflow.config_settings)

if "scale" not in config:

    configfile: os.path.join(workflow.basedir, "config", "config.yaml")


try:
    ENTRIES = load(config, workflow.basedir)
except InputError as error:
    sys.exit(f"petbench: {error}")


pathvars:
    results=f"results/{ENTRIES['scale']}",
    logs=f"results/{ENTRIES['scale']}/logs",
    benchmarks=f"results/{ENTRIES['scale']}/benchmarks",


include: "rules/common.smk"
include: "rules/acquire.smk"
include: "rules/simulate.smk"
include: "rules/register.smk"
include: "rules/structural.smk"
include: "rules/patches.smk"
include: "rules/train.smk"
include: "rules/restore.smk"
include: "rules/classify.smk"
include: "rules/positron_range.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


onstart:
    check_writable()
    name_left_out()
    warn_of_the_future()
    follow(
        workflow.dag.needrun_jobs(),
        benchmarks=Path(f"results/{ENTRIES['scale']}/benchmarks"),
        recorded=Path(workflow.basedir, f"config/recorded/{ENTRIES['scale']}.tsv"),
    )
    # Snakemake's limit of 100 jobs a second makes its scheduler look again every second for good, once more for each job that has ended
    # while others wait: a tenth of a core in the demo, and more the longer a run. Without a limit nothing is looked at twice.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


rule all:
    default_target: True
    input:
        PATHS.latest_page,
        PLAN.report.files(SCALE.run),
        PLAN.images.descriptions(),
    localrule: True


rule tables:
    input:
        PLAN.report.files(SCALE.run),
    localrule: True


rule report:
    input:
        PATHS.latest_page,
    localrule: True


rule restore:
    input:
        or_stop(PLAN.scans.pages),
    localrule: True


for name, members in PLAN.targets.experiments().items():

    rule:
        name:
            name
        input:
            PLAN.report.files(members),
        localrule: True


if workflow.is_main_process:
    check_targets()
