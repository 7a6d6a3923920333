"""All jobs of a scale as JSON, a line a job, and what differs between two such lists: so that the plan can be rewritten and stay the plan.

python tests/workflow/jobs.py list config/tiny.yaml > before.jsonl
python tests/workflow/jobs.py compare before.jsonl after.jsonl
"""

import contextlib
import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FLAGS = ("ancient", "update", "temp", "protected", "ensure", "report")


def planned(configfile: str, targets: tuple[str, ...] = ("all", "verify"), config: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What Snakemake would run from scratch for a scale, in the working directory."""
    from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi

    with SnakemakeApi(OutputSettings(quiet=set())) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=8),
            config_settings=ConfigSettings(configfiles=(Path(configfile),) if configfile else (), config=config or {}),
            snakefile=Path("Snakefile"),
        )
        dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
        with contextlib.redirect_stdout(io.StringIO()):
            dag.printrulegraph()
        return [described(job) for job in workflow._workflow.dag.jobs]


def described(job: Any) -> dict[str, Any]:
    """All that a job is given."""
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards.items()),
        "input": named(job.input),
        "output": named(job.output),
        "params": {key: plain(value) for key, value in job.params.items()},
        "resources": {key: plain(value) for key, value in job.resources.items() if key not in ("tmpdir", "_cores", "_nodes")},
        "threads": job.threads,
        "priority": job.rule.priority,
        "log": named(job.log),
        "benchmark": plain(job.benchmark),
        "local": job.is_local,
    }


def named(files: Any) -> dict[str, Any]:
    """Files by name and all together, with how Snakemake is to treat them; one is written as a list of one."""
    names = {key: plain(value) for key, value in files.items()}
    return {key: [value] if isinstance(value, str) else value for key, value in names.items()} | {"": sorted(plain(list(files)))}


def plain(value: Any) -> Any:
    """As JSON has it; a file that is flagged is followed by its flags."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    flags = [flag for flag in FLAGS if getattr(value, "flags", None) and value.flags.get(flag)]
    return f"{value} ({', '.join(flags)})" if flags else value if isinstance(value, int | float | None) else str(value)


def key_of(job: dict[str, Any]) -> str:
    return json.dumps([job["rule"], job["wildcards"]], sort_keys=True)


def differences(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """A line a difference; order of keys counts, as Snakemake compares parameters as they are printed."""
    old, new = ({key_of(job): job for job in jobs} for jobs in (before, after))
    lines = [f"lacks {key}" for key in old.keys() - new.keys()] + [f"has more: {key}" for key in new.keys() - old.keys()]
    for key in old.keys() & new.keys():
        for part in old[key].keys() | new[key].keys():
            one, other = old[key].get(part), new[key].get(part)
            if isinstance(one, dict) and isinstance(other, dict):
                lines += [
                    f"{key}: {part} {name}: {json.dumps(one.get(name))[:300]} -> {json.dumps(other.get(name))[:300]}"
                    for name in one.keys() | other.keys()
                    if json.dumps(one.get(name)) != json.dumps(other.get(name))
                ]
            elif one != other:
                lines.append(f"{key}: {part}: {one} -> {other}")
    return sorted(lines)


def main(command: str, *arguments: str) -> None:
    if command == "list":
        for job in sorted(planned(*arguments[:1]), key=key_of):
            print(json.dumps(job))
        return
    lists = ([json.loads(line) for line in Path(path).read_text().splitlines()] for path in arguments)
    found = differences(*lists)
    codes = [line for line in found if ": params code:" in line or ": params stages:" in line]
    others = [line for line in found if line not in set(codes)]
    print("\n".join(others))
    print(
        f"{len(others)} differences, and the hash of the code in {len(codes)} jobs",
        Counter(json.loads(c.split(": params")[0])[0] for c in codes),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
