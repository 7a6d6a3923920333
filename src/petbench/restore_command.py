"""The command `petbench`: a BIDS-App's front of the workflow's target `restore`."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import petbench
from petbench.dicom import command as dicom_command
from petbench.errors import InputError
from petbench.files import digest, write_json

ROOT = Path(petbench.__file__).parents[2]
"""Where the Snakefile lies: the package is installed from its checkout."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore a lab's own scans: write the run's configuration, and have Snakemake carry it out; or import them from DICOM.

    Returns:
        The exit status: Snakemake's, or 2 for a command that makes no sense.
    """
    asked = _parser().parse_args(arguments)
    try:
        return dicom_command.bring(asked) if asked.command == "import" else restore(asked)
    except InputError as error:
        print(f"petbench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="petbench", description="Better PET from less dose. Research software, not for diagnosis.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("restore", help="restore scans of a BIDS data set with trained weights")
    one.add_argument("bids_dir", metavar="BIDS_DIR", help="the data set; nothing is written into it")
    one.add_argument("output_dir", metavar="OUT_DIR", help="where the BIDS derivative is written, and all that the run keeps")
    one.add_argument("analysis_level", metavar="participant", choices=["participant"], help="the one level there is")
    one.add_argument("--weights", required=True, metavar="FILE", help="model.safetensors that petbench trained")
    one.add_argument("--participant-label", nargs="+", metavar="LABEL", help="subjects, with sub- or without; all when left out")
    one.add_argument("--session-label", metavar="LABEL", help="session; each when left out")
    one.add_argument("--tracer", metavar="LABEL", help="trc- label of the PET image, where a session has several")
    one.add_argument("--rec", metavar="LABEL", help="rec- label of the PET image, where a session has several")
    one.add_argument("--run", metavar="LABEL", help="run- label of the PET image, where a session has several")
    one.add_argument("--t1w-session", metavar="LABEL", help="session of the MR; PET's own, or the only one, when left out")
    one.add_argument("--t1w-acq", metavar="LABEL", help="acq- label of the MR, where there are several")
    one.add_argument("--t1w-rec", metavar="LABEL", help="rec- label of the MR, where there are several")
    one.add_argument("--t1w-run", metavar="LABEL", help="run- label of the MR, where there are several")
    one.add_argument("--sampling-steps", type=int, metavar="N", help="steps of a method that samples; 50 when left out")
    one.add_argument("--samples", type=int, metavar="N", help="draws of a method that samples: mean and spread; 1 when left out")
    one.add_argument("--allow-unlike", action="store_true", help="go on with scans unlike those that the weights were trained on")
    one.add_argument("--cores", default="1", metavar="N", help="processor cores; 1 when left out, `all` for all")
    one.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs; none when left out")
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    one.add_argument("--dicom", action="store_true", help="write what is restored as DICOM too, into OUT_DIR/dicom")
    two = commands.add_parser("import", help="bring one subject's DICOM folder into a BIDS data set")
    two.add_argument("dicom_dir", metavar="DICOM_DIR", help="the folder of the subject's PET and MR series")
    two.add_argument("bids_dir", metavar="BIDS_DIR", help="the data set; made if it is not there")
    two.add_argument("--participant-label", required=True, metavar="LABEL", help="the subject's label, of your choice")
    for name in ("session", "trc", "rec", "run"):
        two.add_argument(f"--{name}-label", metavar="LABEL", help=f"{name} label of the images")
    for name in ("pet", "mr"):
        two.add_argument(f"--{name}-series", type=int, metavar="NUMBER", help="SeriesNumber, where there are several")
    return parser


def restore(asked: argparse.Namespace) -> int:
    """Write the configuration and run Snakemake in the folder of the output.

    Raises:
        InputError: a path does not exist, or petbench is not installed from its checkout.
    """
    if not (ROOT / "Snakefile").is_file():
        raise InputError(f"{ROOT}: holds no Snakefile; install petbench from its checkout: pip install --editable FOLDER.")
    for path, is_there, what in ((asked.bids_dir, Path.is_dir, "folder"), (asked.weights, Path.is_file, "file")):
        if not is_there(Path(path)):
            raise InputError(f"{path}: no such {what}; mend the path.")
    if Path(asked.output_dir).resolve() == Path(asked.bids_dir).resolve():
        raise InputError(f"{asked.output_dir}: is the data set itself; give another folder for what is restored.")
    kept = Path(asked.output_dir, ".petbench")
    given = configuration(asked)
    file = Path(os.path.abspath(kept / f"run-{digest(given)}.json"))
    write_json(file, given)
    # The target goes before --configfile, which takes many files.
    command = [sys.executable, "-m", "snakemake", "restore", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(kept)]
    command += ["--cores", asked.cores, "--resources", f"gpu={asked.gpus}", "--keep-going", *(["--dry-run"] if asked.dry_run else [])]
    status = subprocess.run([*command, "--configfile", str(file)], check=False).returncode
    if asked.dicom and not asked.dry_run:
        dicom_command.export(Path(asked.output_dir))
    return status


def configuration(asked: argparse.Namespace) -> dict[str, Any]:
    """The keys of `config/schemas/scale.yaml` that a command line stands for.

    Paths become absolute, as Snakemake works in another folder; links stay as they are named.
    """
    keys = {
        "bids": os.path.abspath(asked.bids_dir),
        "out": os.path.abspath(asked.output_dir),
        "weights": os.path.abspath(asked.weights),
        "subject": asked.participant_label,
        "session": asked.session_label,
        "tracer": asked.tracer,
        "rec": asked.rec,
        "scan_run": asked.run,
        "t1w_session": asked.t1w_session,
        "t1w_acq": asked.t1w_acq,
        "t1w_rec": asked.t1w_rec,
        "t1w_run": asked.t1w_run,
        "sampling_steps": asked.sampling_steps,
        "samples": asked.samples,
        "allow_unlike": asked.allow_unlike or None,
    }
    return {key: value for key, value in keys.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
