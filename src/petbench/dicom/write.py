"""A restored PET image as a DICOM series: derived, not for diagnosis, of nobody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from petbench.data.bids import unit
from petbench.data.nifti import Image, canonical, voxel_mm
from petbench.errors import InputError
from petbench.physics.isotopes import isotope

LABEL = "DERIVED: restored by petbench, NOT FOR DIAGNOSIS"
UNITS = {"bqml": ("BQML", 1.0), "kbqml": ("BQML", 1e3), "gml": ("GML", 1.0)}


def write_series(folder: str | Path, image: Image, sidecar: Mapping[str, Any], subject: str) -> list[Path]:
    """Write a PET image as one DICOM file a slice, with new UIDs and 16 bits under one slope a slice.

    Args:
        folder: Where to; made, and it must hold nothing.
        image: The image, RAS.
        sidecar: What is said of it: `Units`, and of the scan `TracerRadionuclide` and `ScanStart` where known.
        subject: The label that stands as the patient's name and number.

    Returns:
        The files, from foot to head.

    Raises:
        InputError: the folder holds files, the units are none that DICOM has, or the axes are sheared.
    """
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; give a new folder for the series.")
    known = unit(sidecar.get("Units", ""))
    units, factor = UNITS.get(known, ("CNTS", 1.0))
    image = canonical(image)
    edges, data = voxel_mm(image), np.asarray(image.dataobj, dtype=np.float64) * factor
    axes = np.asarray(image.affine[:3, :3]) / edges
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError(f"{folder}: the image's axes are not at right angles, which DICOM cannot hold.")
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = np.diag([-1.0, -1.0, 1.0])
    study, series, frame = (generate_uid() for _ in range(3))
    # Rows of a DICOM image run from the front to the back, columns from the patient's right to the left.
    along_columns, along_rows = to_lps @ axes[:, 0] * -1, to_lps @ axes[:, 1] * -1
    corner = np.array([data.shape[0] - 1, data.shape[1] - 1, 0, 1], dtype=np.float64)
    written = []
    for number in range(data.shape[2]):
        pixels = data[::-1, ::-1, number].T
        slope = max(float(np.abs(pixels).max()) / 32767, 1e-12)
        corner[2] = number
        origin = to_lps @ (image.affine @ corner)[:3]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number + 1:04d}.dcm"
        one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.PatientName = one.PatientID = subject
        one.PatientBirthDate = one.PatientSex = one.StudyDate = one.StudyTime = one.SeriesDate = one.SeriesTime = ""
        one.AcquisitionDate = one.AcquisitionTime = one.ReferringPhysicianName = one.StudyID = one.AccessionNumber = ""
        one.PatientIdentityRemoved, one.DeidentificationMethod = "YES", "petbench: nothing of the source's header is kept"
        one.Modality, one.Manufacturer, one.SeriesNumber, one.InstanceNumber = "PT", "petbench", 1, number + 1
        one.ImageType = ["DERIVED", "SECONDARY"]
        one.SeriesDescription = one.ImageComments = one.DerivationDescription = LABEL
        one.SeriesType, one.NumberOfSlices, one.ImageIndex = ["STATIC", "IMAGE"], data.shape[2], number + 1
        one.Units, one.CountsSource, one.CollimatorType = units, "EMISSION", "NONE"  # of decay and duration nothing is known here
        tracer = Dataset()
        if (name := str(sidecar.get("TracerRadionuclide", ""))) not in ("", "n/a"):
            mass, element = "".join(filter(str.isdigit, name)), "".join(filter(str.isalpha, name))
            tracer.Radiopharmaceutical = str(sidecar.get("TracerName", "n/a"))[:64]
            tracer.RadionuclideHalfLife = isotope(f"{element}{mass}").half_life_s
        one.RadiopharmaceuticalInformationSequence = [tracer]
        one.ImageOrientationPatient = [float(f"{value:.8f}") for value in (*along_columns, *along_rows)]
        one.ImagePositionPatient = [float(f"{value:.6f}") for value in origin]
        one.PixelSpacing, one.SliceThickness = [float(edges[1]), float(edges[0])], float(edges[2])
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = float(f"{slope:.9g}"), 0, units
        one.PixelData = np.rint(pixels / one.RescaleSlope).clip(-32768, 32767).astype("<i2").tobytes()
        one.save_as(path, enforce_file_format=True)
        written.append(path)
    return written
