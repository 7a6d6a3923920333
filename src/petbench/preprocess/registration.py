"""MR to PET: rigid, affine or deformable registration by ANTs, with a picture to check it by."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, read_volume, volume, voxel_mm, write_volume
from petbench.errors import InputError
from petbench.files import atomic
from petbench.preprocess.grid import isotropic
from petbench.preprocess.intensity import head_mask
from petbench.preprocess.mutual_information import Pair, about, in_levels, refined, right_angles, starting_rotations, survey
from petbench.preprocess.plausible import check_mr

COARSEST_MM = 8.0
TRANSFORMS = {"rigid": "Rigid", "affine": "Affine", "syn": "SyN"}
WORKING_MM = 2.0
"""Default of `registration/working_mm`."""
MINIMUM_FIT, MINIMUM_OVER_MIRRORED = 1.5, 1.35
"""Defaults of `registration/minimum_fit` and `registration/minimum_over_mirrored`."""
LIKE_PET = 0.9
"""Correlation inside the head above which what should be MR is PET."""
SURVEY_MM, FINE_MM = 12.0, 6.0
FINE_POSES = 3
"""Poses of the survey that are told apart in voxels of `FINE_MM`."""
NOISE_MM = 3.0
"""Standard deviation of the Gaussian that takes the PET's noise away before it is cut into levels."""
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's world (RAS) to ITK's (LPS)."""


@dataclass(frozen=True)
class Registered:
    """An MR image on the grid of a PET image.

    Attributes:
        image: The MR.
        facts: What the sidecar says of the fit: `MutualInformation` (nats) of PET and MR inside the head; `MutualInformationTurned`, the
            largest with the MR turned by right angles about the head's centre, and `MutualInformationMirrored`, that of the MR's mirror
            image where it fits best; `HeadCovered`, `AnglesTried` and `RotationDeg`, the angle found.
    """

    image: Image
    facts: dict[str, Any]


def register(
    fixed: Image, moving: Image, settings: Mapping[str, Any], threads: int, names: Mapping[str, str], transform: str | Path | None = None
) -> Registered:
    """Register an MR image to a PET image.

    Headers are not trusted for the pose: all angles are tried, in coarse voxels (`petbench.preprocess.mutual_information.survey`), and ANTs
    starts from the best. Then the fit is held against that of the MR turned another way, and mirrored: noise, a ball or a mask fit as well
    anyhow, and another person's MR as well as its mirror image, as no head is symmetric.

    Results repeat bit for bit with one thread only: ANTs sums its metric in the order in which threads finish.

    Args:
        fixed: PET image.
        moving: MR image, in its own space.
        settings: `transform` (rigid, affine or syn), `seed`, `minimum_overlap`, the least share of the PET head that the registered MR head
            must cover, and optionally `working_mm`, the voxel edge below which both are averaged for the registration, and `minimum_fit`
            and `minimum_over_mirrored`, the least mutual information as a multiple of that of the MR turned, and mirrored.
        threads: ITK threads.
        names: Files of `pet` and `mr`, for messages.
        transform: Where to keep the transform, an ITK composite (`.h5`) from points of PET space to points of MR space.

    Returns:
        The MR image on the PET grid (linear interpolation), and how well it fits.

    Raises:
        InputError: the images cannot be overlaid: the MR is of another subject, mirrored, PET or no head, or its header is wrong.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = str(settings["seed"])  # read by ANTs when it starts, hence before the import
    import ants

    for kind, image in (("pet", fixed), ("mr", moving)):
        if np.ptp(np.asarray(image.dataobj)) == 0:
            raise InputError(f"{names[kind]}: every voxel has the same value; supply the acquired image.")
    check_mr(moving, names["mr"])
    start, _ = best_pose(fixed, moving)
    with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
        target, source = to_ants(fixed), to_ants(moving)
        edge = settings.get("working_mm", WORKING_MM)
        pet, mr = (isotropic(image, edge) if voxel_mm(image).min() < edge else image for image in (fixed, moving))
        found = ants.registration(
            to_ants(pet),
            to_ants(mr),
            type_of_transform=TRANSFORMS[settings["transform"]],
            initial_transform=_written(start, f"{folder}/start.mat"),
            outprefix=f"{folder}/",
            write_composite_transform=True,
            **pyramid(pet),
        )
        composite = found["fwdtransforms"]
        warped = ants.apply_transforms(target, source, [composite], interpolator="linear").numpy().astype(np.float32)
        moved = volume(warped, fixed.affine)
        covered = _overlap(np.asarray(fixed.dataobj), np.asarray(moved.dataobj))
        if covered == 0 or covered < settings["minimum_overlap"]:
            raise InputError(
                f"{names['mr']}: after registration it covers {covered:.0%} of the head in {names['pet']} (registration/minimum_overlap"
                f" is {settings['minimum_overlap']:.0%}); check that both show the same subject and are oriented alike."
            )
        facts = {"HeadCovered": covered, "AnglesTried": len(starting_rotations()), "RotationDeg": _degrees(start)} | _fit(
            fixed, moving, moved, settings, names
        )
        if transform is not None:
            with atomic(transform) as temporary:
                shutil.copyfile(composite, temporary)
        return Registered(moved, facts)


def _fit(fixed: Image, moving: Image, moved: Image, settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    """How well registered MR fits, held against the same MR turned and mirrored."""
    heads = pair_of(fixed, moved, FINE_MM, around_mm=0.0)
    found = heads.pair.information(np.eye(4))
    turned = max(heads.pair.information(about(heads.centre, rotation, heads.centre)) for rotation in right_angles())
    mirror = Image(np.asarray(moving.dataobj)[::-1], moving.affine)
    pose, _ = best_pose(fixed, mirror)
    mirrored = pair_of(fixed, mirror, FINE_MM, around_mm=0.0).pair.information(pose)
    said = f"mutual information {found:.3f}"
    pet, mr = (np.asarray(isotropic(image, FINE_MM).dataobj) for image in (fixed, moved))
    head = head_mask(pet)
    if np.ptp(mr[head]) and np.corrcoef(pet[head], mr[head])[0, 1] > LIKE_PET:
        raise InputError(f"{names['mr']}: looks like the PET in {names['pet']}, not like MR; give the subject's T1-weighted MR.")
    least = settings.get("minimum_fit", MINIMUM_FIT)
    if found < least * turned:
        raise InputError(
            f"{names['mr']}: fits {names['pet']} no better than turned another way ({said}, turned {turned:.3f};"
            f" registration/minimum_fit is {least:g}); give a T1-weighted MR of the same head."
        )
    if found < mirrored:
        raise InputError(
            f"{names['mr']}: its mirror image fits {names['pet']} better ({said}, mirrored {mirrored:.3f}); left and right are exchanged in"
            " one of them, or it is another subject's: convert both again from DICOM."
        )
    least = settings.get("minimum_over_mirrored", MINIMUM_OVER_MIRRORED)
    if found < least * mirrored:
        raise InputError(
            f"{names['mr']}: fits {names['pet']} hardly better than its mirror image ({said}, mirrored {mirrored:.3f};"
            f" registration/minimum_over_mirrored is {least:g}), as another subject's does; check that both show the same subject."
        )
    return {"MutualInformation": found, "MutualInformationTurned": turned, "MutualInformationMirrored": mirrored}


def best_pose(fixed: Image, moving: Image) -> tuple[NDArray[np.float64], float]:
    """The pose, points of PET space to points of MR space (4, 4), in which two images share most, and their mutual information there."""
    coarse, fine = (pair_of(fixed, moving, edge) for edge in (SURVEY_MM, FINE_MM))
    poses = survey(coarse.pair, coarse.centre, coarse.onto)
    best = [refined(fine.pair.information, pose, fine.centre, 4.0) for _, pose in poses[:FINE_POSES]]
    return max(best, key=lambda found: found[1])


def _degrees(pose: NDArray[np.float64]) -> float:
    """The angle that a pose turns by."""
    return float(np.degrees(np.arccos(np.clip((np.trace(pose[:3, :3]) - 1) / 2, -1, 1))))


@dataclass(frozen=True)
class Heads:
    """Two images as `petbench.preprocess.mutual_information` takes them, and where their heads' centres are in their worlds, (3,)."""

    pair: Pair
    centre: NDArray[np.float64]
    onto: NDArray[np.float64]


def pair_of(fixed: Image, moving: Image, edge_mm: float, around_mm: float = 30.0) -> Heads:
    """Cut two images into levels, in voxels of `edge_mm`, the fixed one where its head is and `around_mm` beyond."""
    pet, mr = (isotropic(image, edge_mm) for image in (fixed, moving))
    smooth = ndimage.gaussian_filter(np.asarray(pet.dataobj), NOISE_MM / voxel_mm(pet))
    anatomy = np.asarray(mr.dataobj)
    heads = head_mask(smooth), head_mask(anatomy)
    reach = round(around_mm / edge_mm)
    region = ndimage.binary_dilation(heads[0], iterations=reach) if reach else heads[0]
    levels = np.round(in_levels(smooth[region], 0.0, float(np.percentile(smooth[heads[0]], 99.5)))).astype(np.int64)
    centres = [_world(image.affine, np.array(ndimage.center_of_mass(head))) for image, head in zip((pet, mr), heads, strict=True)]
    points = _world(pet.affine, np.argwhere(region).astype(float))
    in_units = in_levels(anatomy, 0.0, float(np.percentile(anatomy[heads[1]], 99.5)))
    return Heads(Pair(levels, points, in_units, np.linalg.inv(mr.affine)), centres[0], centres[1])


def _world(affine: NDArray[np.floating], index: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3], dtype=np.float64)


def _written(pose: NDArray[np.float64], path: str) -> str:
    """A pose in NIfTI's world as a file that ANTs starts from."""
    import SimpleITK

    matrix = FLIP @ pose @ FLIP
    start = SimpleITK.AffineTransform(3)
    start.SetMatrix(matrix[:3, :3].ravel().tolist())
    start.SetTranslation(matrix[:3, 3].tolist())
    SimpleITK.WriteTransform(start, path)
    return path


def pyramid(fixed: Image) -> dict[str, tuple[int, ...]]:
    """Levels of the linear registration, coarse to fine: none coarser than 8 mm, where a head is too few voxels to turn right."""
    finest = float(voxel_mm(fixed).min())
    shrink = (*(factor for factor in (6, 4, 2) if factor * finest <= COARSEST_MM), 1)
    return {
        "aff_shrink_factors": shrink,
        "aff_smoothing_sigmas": tuple(factor // 2 for factor in shrink),
        "aff_iterations": (1000,) * len(shrink),
    }


def to_ants(image: Image) -> Any:
    """Hand an image to ANTs: same voxels, its world turned from NIfTI's RAS to ITK's LPS."""
    import ants

    flip = np.diag([-1.0, -1.0, 1.0])
    spacing = voxel_mm(image)
    direction = flip @ np.asarray(image.affine)[:3, :3] / spacing
    origin = flip @ np.asarray(image.affine)[:3, 3]
    return ants.from_numpy(
        np.asarray(image.dataobj, dtype=np.float32), origin=origin.tolist(), spacing=spacing.tolist(), direction=direction
    )


def _overlap(pet: NDArray[np.floating], mr: NDArray[np.floating]) -> float:
    if not np.any(mr):
        return 0.0
    head = head_mask(pet)
    return float(np.count_nonzero(head & ndimage.binary_dilation(head_mask(mr)))) / max(int(np.count_nonzero(head)), 1)


def register_files(pet: str, mr: str, settings: Mapping[str, Any], threads: int, out: Mapping[str, str]) -> None:
    """Register the MR file to the PET file; write `mr` (NIfTI), `transform` (ITK composite, `.h5`) and `picture` (PNG)."""
    fixed = read_volume(pet)
    moved = register(fixed, read_volume(mr), settings, threads, {"pet": pet, "mr": mr}, out["transform"]).image
    write_volume(out["mr"], np.asarray(moved.dataobj), like=fixed)
    overlay(fixed, moved, out["picture"])


def overlay(pet: Image, mr: Image, path: str | Path) -> None:
    """Draw the edges of the registered MR over the PET in three central planes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data, anatomy = np.asarray(pet.dataobj), np.asarray(mr.dataobj)
    centre = [round(float(c)) for c in ndimage.center_of_mass(head_mask(data))]
    spacing = voxel_mm(pet)
    figure = Figure(figsize=(9, 3.2), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    top = np.percentile(data, 99.8)
    levels = np.percentile(anatomy[head_mask(anatomy)], [15, 60])
    for axis, place in enumerate(figure.subplots(1, 3)):
        plane = np.take(data, centre[axis], axis=axis).T
        edges = np.take(anatomy, centre[axis], axis=axis).T
        rest = [other for other in range(3) if other != axis]
        aspect = spacing[rest[1]] / spacing[rest[0]]
        place.imshow(plane, origin="lower", cmap="gray", vmin=0, vmax=top, aspect=aspect)
        if levels[0] < levels[1]:
            place.contour(edges, levels=levels, colors=["#ffb000", "#00c2c7"], linewidths=0.7)
        place.set_axis_off()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=80, metadata={"Software": None})
