"""The plan of this run, what wildcards may be, and the helpers that rules share. No rules."""

import os
import re
import sys
from inspect import isfunction, signature
from pathlib import Path

from petbench.data.brainweb import MODELS
from petbench.errors import InputError
from petbench.plan.plan import Plan
from petbench.positron_range.study import ROWS
from petbench.workflow.clock import future_files
from petbench.workflow.names import UNRESTORED, wildcard_choice
from petbench.workflow.runtime import scan_minutes

# Trainings, and what they wait for, go before all that is ready beside them: begun late, they would end a run alone.
EARLY = 1


def noted(function):
    """The function with the names of its parameters, which Snakemake works out for every job anew where it does not find them here.

    That was a seventh of the planning of a large scale.
    """
    function._overwrite_params = {name: one for name, one in signature(function).parameters.items() if name != "self"}
    return function


def or_stop(function):
    """A function that ends the run with a user's one line, not with a traceback."""

    def of(*given):
        try:
            return function(*given)
        except InputError as error:
            sys.exit(f"petbench: {error}")

    return noted(of)


def of_job(function):
    """A function of a job's wildcards, of one that takes some of them by their names."""
    names = signature(function).parameters

    def of(wildcards):
        return function(*(getattr(wildcards, name) for name in names))

    return noted(of)


PLAN = Plan(ENTRIES, config, Path(workflow.basedir), untimed=ancient)
SCALE, PATHS = PLAN.scale, PLAN.paths
or_stop(PLAN.check)()
for part in vars(PLAN).values():
    for method in filter(isfunction, vars(type(part)).values()):
        noted(method)


wildcard_constraints:
    dataset=wildcard_choice(SCALE.datasets),
    dose=wildcard_choice(SCALE.doses),
    subject="[A-Za-z0-9]+",
    method=wildcard_choice([*SCALE.methods, *UNRESTORED]),
    fold=r"(\d+(-\d+)*|all)(\.\d+)*",
    classifier=wildcard_choice(SCALE.classifiers),
    domain="[a-z0-9]+",
    experiment=wildcard_choice(SCALE.experiments),
    psf_set=wildcard_choice(SCALE.psf_sets),
    predictor=wildcard_choice(SCALE.predictors),
    torso=wildcard_choice(SCALE.torsos),
    strategy=wildcard_choice(ROWS),
    chunk=r"\d+",
    realisation=r"\d+",


def code_of(script, modules=lambda wildcards: []):
    """A function of wildcards that hashes a rule's script, with all that it imports and the modules of `methods` that it finds by name."""

    def of(wildcards):
        names = modules(wildcards)
        return PLAN.code(script, *([names] if isinstance(names, str) else names))

    return noted(of)


def scaled(amount):
    """Memory or minutes: a rule's figure at the paper's scale, or a function of it, times the scale's factor, more at each attempt."""

    def of(wildcards, attempt):
        whole = amount(wildcards) if callable(amount) else amount
        return max(1, int(whole * config.get("resource_factor", 1.0) * attempt))

    return noted(of)


def at_most(threads):
    """A rule's threads, or the scale's limit: where networks and images are small, two jobs beside each other are faster than one on two."""
    return min(threads, config.get("max_threads", threads))


def at_most_of(function):
    """The same of a function of wildcards that says a rule's threads."""

    def of(wildcards):
        return at_most(function(wildcards))

    return noted(of)


def in_report(path, caption, category):
    """A file that Snakemake's own report shows, found there by its wildcards."""
    labels = {name: f"{{{name}}}" for name in re.findall(r"{(\w+)}", path)}
    return report(path, caption=f"../resources/captions/{caption}.rst", category=category, labels=labels or None)


def name_left_out():
    """Say who of a lab's data sets lacks an image and is left out."""
    for line in PLAN.images.left_out():
        print(f"petbench: {line}", file=sys.stderr)


def warn_of_the_future():
    """Say it where results seem newer than they can be: jobs that read them would be repeated until that time has come."""
    found = future_files(PATHS.results)
    if found:
        print(
            f"petbench: {len(found)} files are dated in the future, such as {found[0]}: a machine's clock is wrong. Jobs that"
            " read them will fail; set the clock, then `touch` these files and run again.",
            file=sys.stderr,
        )


def check_writable():
    """Results can be written, and none lies on a disk that cannot: Snakemake itself would end in a traceback."""
    for folder, _, _ in os.walk(PATHS.results):
        unwritable = folder == PATHS.results and not os.access(folder, os.W_OK)
        if os.statvfs(folder).f_flag & os.ST_RDONLY or unwritable:
            sys.exit(f"petbench: {folder}: cannot be written; mend its permissions or its mount, then run again.")


def check_targets():
    """What the command line asks for is there; of a name that is not, Snakemake itself would say that no rule makes a file of it."""
    words = [word for word in sys.argv[1:] if re.fullmatch(r"[a-z][\w-]*", word)]
    if "snakemake" in sys.argv[0] and words:
        asked, _ = get_argument_parser().parse_known_args()
        or_stop(PLAN.targets.check)(asked.targets, {rule.name for rule in workflow.rules})
