"""The parts of the command `petbench` that read and write DICOM."""

import argparse
from pathlib import Path


def bring(asked: argparse.Namespace) -> int:
    """Import a subject's DICOM.

    Raises:
        InputError: see `petbench.dicom.read.import_subject`.
    """
    from petbench.dicom.read import import_subject

    given = {"ses": asked.session_label, "trc": asked.trc_label, "rec": asked.rec_label, "run": asked.run_label}
    labels = {key: value for key, value in given.items() if value is not None}
    for path in import_subject(
        asked.dicom_dir, asked.bids_dir, asked.participant_label.removeprefix("sub-"), labels, asked.pet_series, asked.mr_series
    ).values():
        print(path)
    return 0


def export(out: Path) -> None:
    """Write each restored image of a derivative as a DICOM series; what an earlier run left is replaced, each series when it is whole.

    Raises:
        InputError: an image or its sidecar cannot be read.
    """
    import shutil
    import tempfile

    from petbench.data.bids import read_sidecar
    from petbench.data.nifti import read_volume
    from petbench.dicom.write import write_series

    (out / "dicom").mkdir(exist_ok=True)
    for path in sorted(out.glob("sub-*/**/*_desc-restored_pet.nii.gz")):
        name = path.name.removesuffix("_pet.nii.gz")
        with tempfile.TemporaryDirectory(dir=out / "dicom", prefix=".part-") as part:
            write_series(Path(part, name), read_volume(path), read_sidecar(path), name.split("_")[0].removeprefix("sub-"))
            shutil.rmtree(out / "dicom" / name, ignore_errors=True)
            Path(part, name).rename(out / "dicom" / name)
