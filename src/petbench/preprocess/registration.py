"""MR to PET: rigid, affine or deformable registration by ANTs, with a picture to check it by."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, read_volume, volume, voxel_mm, write_volume
from petbench.errors import InputError
from petbench.files import atomic
from petbench.preprocess.intensity import head_mask

COARSEST_MM = 8.0
TRANSFORMS = {"rigid": "Rigid", "affine": "Affine", "syn": "SyN"}


def register(
    fixed: Image, moving: Image, settings: Mapping[str, Any], threads: int, names: Mapping[str, str], transform: str | Path | None = None
) -> Image:
    """Register an MR image to a PET image.

    Results repeat bit for bit with one thread only: ANTs sums its metric in the order in which threads finish.

    Args:
        fixed: PET image.
        moving: MR image, in its own space.
        settings: `transform` (rigid, affine or syn), `seed`, and `minimum_overlap`, the least share of the PET head that the
            registered MR head must cover.
        threads: ITK threads.
        names: Files of `pet` and `mr`, for messages.
        transform: Where to keep the transform, an ITK composite (`.h5`) from points of PET space to points of MR space.

    Returns:
        The MR image on the PET grid (linear interpolation).

    Raises:
        InputError: the images cannot be overlaid: the MR is of another subject, or its header is wrong.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = str(settings["seed"])  # read by ANTs when it starts, hence before the import
    import ants

    for kind, image in (("pet", fixed), ("mr", moving)):
        if np.ptp(np.asarray(image.dataobj)) == 0:
            raise InputError(f"{names[kind]}: every voxel has the same value; supply the acquired image.")
    with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
        target, source = to_ants(fixed), to_ants(moving)
        kind = TRANSFORMS[settings["transform"]]
        found = ants.registration(
            target, source, type_of_transform=kind, outprefix=f"{folder}/", write_composite_transform=True, **pyramid(fixed)
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
        if transform is not None:
            with atomic(transform) as temporary:
                shutil.copyfile(composite, temporary)
        return moved


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
    moved = register(fixed, read_volume(mr), settings, threads, {"pet": pet, "mr": mr}, out["transform"])
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
