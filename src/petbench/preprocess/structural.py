"""From a T1-weighted MR to a map of grey matter in MNI space, and PET to the same place, in ANTs.

PCSA-GAN (section 4.1) did this with MIPAV, N3, CAT12 and HAMMER. Templates and tissue priors are the ICBM152 maps that nilearn carries.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.affines import centred_affine
from petbench.data.icbm152 import average_brain
from petbench.data.nifti import Image, read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import atomic, checksum, write_json
from petbench.preprocess.registration import pyramid, to_ants

Array = NDArray[np.float32]

TISSUES = ("csf", "grey", "white")
# Middle of the box that the normalised volumes cover, in MNI mm: the middle of the brain.
CENTRE_MM = (0.0, -18.0, 8.0)
# The template is a brain alone; around it lies what a head adds, which the registration of a head must not look at.
MARGIN_MM = 6
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
# A brain fills this share of its head or more; less was found where there is none.
LEAST_GREY_ML, MOST_GREY_ML = 250.0, 1500.0


def grid_affine(shape: Sequence[int], edge_mm: float) -> NDArray[np.float64]:
    """Affine of the normalised volumes: cubic voxels about the middle of the brain in MNI space."""
    affine = centred_affine(shape, np.full(3, edge_mm))
    affine[:3, 3] += CENTRE_MM
    return affine


def min_max(data: NDArray[np.floating], name: str) -> tuple[Array, float, float]:
    """An image scaled to [0, 1] (equation 13), and its least and greatest value.

    Raises:
        InputError: it is the same everywhere.
    """
    low, high = float(data.min()), float(data.max())
    if not high > low:
        raise InputError(f"{name}: every voxel has the same value; supply the acquired image.")
    return np.asarray((data - low) / (high - low), dtype=np.float32), low, high


@cache
def template(working_mm: int) -> dict[str, Image]:
    """The ICBM152 brain, its mask and its tissue maps (`csf`, `grey`, `white`), in voxels of `working_mm`, with room around the brain."""
    images = average_brain()
    t1, grey, white = (np.asarray(image.dataobj) for image in images)
    edges = [-(size + 2 * MARGIN_MM) % working_mm for size in t1.shape]
    padding = [(MARGIN_MM, MARGIN_MM + edge) for edge in edges]
    affine = np.asarray(images[0].affine, dtype=np.float64) @ np.diag([*[working_mm] * 3, 1.0])
    affine[:3, 3] = images[0].affine[:3, 3] - MARGIN_MM + (working_mm - 1) / 2

    def averaged(data: NDArray[Any]) -> Array:
        padded = np.pad(data.astype(np.float32), padding)
        blocks = padded.reshape([part for size in padded.shape for part in (size // working_mm, working_mm)])
        return np.asarray(blocks.mean(axis=(1, 3, 5)))

    brain, grey_map, white_map = (averaged(data) for data in (t1 > 0, grey, white))
    found = {
        "t1": averaged(t1),
        "brain": (brain > 0.5).astype(np.float32),
        "csf": np.clip(brain - grey_map - white_map, 0, 1),
        "grey": grey_map,
        "white": white_map,
    }
    return {name: volume(data, affine) for name, data in found.items()}


def normalise_mr(
    t1w: str,
    settings: Mapping[str, Any],
    grid: Mapping[str, Any],
    threads: int,
    out: Mapping[str, str],
    labels: str | None = None,
    truth: str | None = None,
) -> None:
    """Align, correct, segment and warp one subject's MR.

    In order: N4, rigid to MNI (the pose that AC and PC define), an affine estimate of where the brain is, Atropos with the template's
    tissues as priors, SyN to MNI152 or less of it (`transform`), and the grey-matter map warped, smoothed, sampled on the grid and scaled
    to [0, 1].

    Args:
        t1w: T1-weighted MR (NIfTI).
        settings: `working_mm`, `transform`, `smoothing_mm`, `prior_weight`, `iterations`, `seed` of the data set entry's
            `preprocess/structural`.
        grid: `shape` and `voxel_mm` of the normalised volumes.
        threads: ITK threads; results repeat bit for bit with one.
        out: Files to write: `map` (the normalised grey matter), `t1w` (N4, in MNI pose), `tissues` (most likely tissue there), `rigid`
            (.mat) and `warp` (.h5), which together take points of MNI space to the MR, `picture` and `sidecar`.
        labels: Label map of a phantom, on the grid of its PET.
        truth: What is known of a phantom.

    Raises:
        InputError: the image is empty, or no brain is found in it.
    """
    image = read_volume(t1w)
    if np.ptp(np.asarray(image.dataobj)) == 0:
        raise InputError(f"{t1w}: every voxel has the same value; supply the acquired image.")
    with _ants(threads, settings["seed"]) as (ants, folder):
        space = {name: to_ants(part) for name, part in template(settings["working_mm"]).items()}
        reach = max(1, round(MARGIN_MM / settings["working_mm"]))
        around = ants.morphology(space["brain"], "dilate", reach)
        native = to_ants(image)
        smooth = {"iters": [30, 20], "tol": 1e-6}
        head = ants.n4_bias_field_correction(native, mask=ants.get_mask(native), shrink_factor=4, convergence=smooth)
        levels = pyramid(template(settings["working_mm"])["t1"])
        rigid = ants.registration(space["t1"], head, "Rigid", mask=around, outprefix=f"{folder}/rigid", **levels)
        posed = ants.apply_transforms(space["t1"], head, rigid["fwdtransforms"])
        affine = ants.registration(space["t1"], posed, "Affine", mask=around, outprefix=f"{folder}/affine", **levels)
        back = {"transformlist": affine["fwdtransforms"], "whichtoinvert": [True]}
        mask = ants.threshold_image(ants.apply_transforms(posed, space["brain"], **back), 0.5, 2)
        priors = [ants.apply_transforms(posed, space[tissue], **back) for tissue in TISSUES]
        brain = posed * mask
        # Its sampling has a seed of its own, which is fixed only if asked.
        options = {"m": "[0.1,1x1x1]", "c": "[5,0]", "priorweight": settings["prior_weight"], "use-random-seed": 0}
        try:
            found = ants.atropos(a=brain, x=mask, i=priors, **options)
        except Exception as error:  # the package raises no narrower one
            raise InputError(
                f"{t1w}: no tissues were told apart in it ({error}); check that it is a T1-weighted image of a head."
            ) from None
        grey = found["probabilityimages"][TISSUES.index("grey")]
        warp = _warp(ants, settings, space["t1"], brain, affine["fwdtransforms"][0], folder)
        target = to_ants(volume(np.zeros(grid["shape"], np.float32), grid_affine(grid["shape"], grid["voxel_mm"])))
        warped = ants.apply_transforms(space["t1"], grey, [warp])
        sampled = ants.apply_transforms(target, ants.smooth_image(warped, settings["smoothing_mm"], FWHM=True), [])
        for name, path in (("rigid", rigid["fwdtransforms"][0]), ("warp", warp)):
            with atomic(out[name]) as temporary:
                shutil.copyfile(path, temporary)
        posed_affine = template(settings["working_mm"])["t1"].affine
        tissues = found["segmentation"].numpy()
        millilitres = float(grey.numpy().sum() * settings["working_mm"] ** 3 / 1000)
        if not LEAST_GREY_ML < millilitres < MOST_GREY_ML:
            raise InputError(
                f"{t1w}: {millilitres:.0f} ml of grey matter were found in it; check that it is a T1-weighted image of a head."
            )
        quality: dict[str, Any] = {"GreyMatterMl": millilitres, "TemplateOverlap": _overlap(warped.numpy(), space["grey"].numpy())}
        if labels is not None and truth is not None:
            quality |= _against_truth(ants, posed, tissues, labels, truth, rigid["fwdtransforms"][0], warp)
    normalised, low, high = min_max(sampled.numpy(), t1w)
    like = volume(normalised, grid_affine(grid["shape"], grid["voxel_mm"]))
    write_volume(out["map"], normalised, like=like)
    write_volume(out["t1w"], posed.numpy().astype(np.float32), like=volume(posed.numpy(), posed_affine))
    write_volume(out["tissues"], tissues.astype(np.int16), like=volume(tissues.astype(np.int16), posed_affine))
    _picture(normalised, out["picture"])
    write_json(
        out["sidecar"],
        {
            "Description": "Grey-matter probability in MNI152 space, smoothed, scaled to [0, 1]",
            "Units": "arbitrary",
            "Alignment": settings.get("transform", "syn"),
            "SmoothingFWHM": settings["smoothing_mm"],
            "Minimum": low,
            "Maximum": high,
            "Sources": [Path(t1w).name],
            "Quality": quality,
            "SHA256": checksum(out["map"]),
        },
    )


def normalise_pet(
    pet: str,
    to_t1w: str,
    rigid: str,
    warp: str,
    settings: Mapping[str, Any],
    grid: Mapping[str, Any],
    threads: int,
    out: Mapping[str, str],
) -> None:
    """Bring one subject's PET to where its grey-matter map is: one interpolation through all transforms, smoothed and scaled alike.

    Args:
        pet: PET image (NIfTI).
        to_t1w: Transform of points of PET space to MR space, linear (.h5).
        rigid: The MR's transform to MNI pose (.mat).
        warp: Its warp to MNI152 (.h5).
        settings: See `normalise_mr`.
        grid: See `normalise_mr`.
        threads: ITK threads.
        out: Files to write: `pet` (NIfTI, [0, 1]) and `sidecar`.

    Raises:
        InputError: the image is empty where the brain is, a transform is damaged, or the one to the MR is not linear.
    """
    image = read_volume(pet)
    with _naming_damaged(to_t1w, rigid, warp), _ants(threads, settings["seed"]) as (ants, folder):
        back = _inverse(to_t1w, f"{folder}/back.mat")
        native = to_ants(image)
        # A PET as coarse as the grid must not be smoothed across its own voxels' edges before it is sampled: in between, as fine as the MR.
        fine = to_ants(template(settings["working_mm"])["t1"])
        warped = ants.apply_transforms(fine, native, [back, rigid, warp])
        target = to_ants(volume(np.zeros(grid["shape"], np.float32), grid_affine(grid["shape"], grid["voxel_mm"])))
        sampled = ants.apply_transforms(target, ants.smooth_image(warped, settings["smoothing_mm"], FWHM=True), []).numpy()
    normalised, low, high = min_max(sampled, pet)
    write_volume(out["pet"], normalised, like=volume(normalised, grid_affine(grid["shape"], grid["voxel_mm"])))
    write_json(
        out["sidecar"],
        {
            "Description": "PET in MNI152 space, smoothed, scaled to its own range: no activity concentration",
            "Units": "arbitrary",
            "SmoothingFWHM": settings["smoothing_mm"],
            "Minimum": low,
            "Maximum": high,
            "Sources": [Path(pet).name],
            "SHA256": checksum(out["pet"]),
        },
    )


@contextmanager
def _naming_damaged(*transforms: str) -> Iterator[None]:
    """Name the transform that cannot be read, where ANTs or ITK stopped with no more than an exit code."""
    try:
        yield
    except RuntimeError:
        import SimpleITK

        for path in transforms:
            try:
                SimpleITK.ReadTransform(path)
            except RuntimeError:
                raise InputError(f"{path}: is cut short or damaged; delete it and run again.") from None
        raise


@contextmanager
def _ants(threads: int, seed: int) -> Iterator[tuple[Any, str]]:
    """ANTs with a seed, and a folder for its files, which it does not remove itself."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = str(seed)  # read by ANTs when it starts, hence before the import
    import ants

    kept = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
        tempfile.tempdir = folder
        try:
            yield ants, folder
        finally:
            tempfile.tempdir = kept


def _warp(ants: Any, settings: Mapping[str, Any], template_t1: Any, brain: Any, affine: str, folder: str) -> str:
    """What takes points of MNI space to the head in MNI pose: SyN on top of the affine transform, that alone, or nothing."""
    import SimpleITK

    kind, path = settings.get("transform", "syn"), f"{folder}/warp.h5"
    if kind == "syn":
        options = {"outprefix": f"{folder}/syn", "write_composite_transform": True, "reg_iterations": settings["iterations"]}
        return str(ants.registration(template_t1, brain, "SyNOnly", initial_transform=affine, **options)["fwdtransforms"])
    transform = SimpleITK.CompositeTransform(SimpleITK.ReadTransform(affine) if kind == "affine" else SimpleITK.AffineTransform(3))
    SimpleITK.WriteTransform(transform, path)
    return path


def _inverse(path: str, out: str) -> str:
    """The inverse of a linear transform (.h5), as a file that ANTs reads."""
    import SimpleITK

    transform = SimpleITK.CompositeTransform(SimpleITK.ReadTransform(path))
    transform.FlattenTransform()
    if not transform.IsLinear():
        raise InputError(f"{path}: is no linear transform; give the data set preprocess/registration/transform rigid or affine.")
    points = np.vstack([np.zeros(3), np.eye(3)])
    images = np.array([transform.TransformPoint(point.tolist()) for point in points])
    matrix = (images[1:] - images[0]).T
    inverse = SimpleITK.AffineTransform(3)
    inverse.SetMatrix(np.linalg.inv(matrix).ravel().tolist())
    inverse.SetTranslation((-np.linalg.inv(matrix) @ images[0]).tolist())
    SimpleITK.WriteTransform(inverse, out)
    return out


def _overlap(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Dice coefficient of two maps of shares, each cut at one half."""
    return dice(found > 0.5, expected > 0.5)


def dice(found: NDArray[np.bool_], expected: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks; NaN where both are empty."""
    total = int(found.sum()) + int(expected.sum())
    return float(2 * np.count_nonzero(found & expected) / total) if total else float("nan")


def _against_truth(ants: Any, posed: Any, tissues: NDArray[np.floating], labels: str, truth: str, rigid: str, warp: str) -> dict[str, Any]:
    """How far the segmentation and the registration of a phantom are from what is known of it."""
    import SimpleITK

    from petbench.data.anatomy import LABELS
    from petbench.data.mni_head import LANDMARKS_MM
    from petbench.data.phantom_files import read_truth

    known = read_truth(truth)
    map_of = read_volume(labels)
    to_native, to_posed = (SimpleITK.ReadTransform(path) for path in (rigid, warp))

    def moved(point: NDArray[np.float64]) -> NDArray[np.float64]:
        there = to_native.TransformPoint(to_posed.TransformPoint((point * RAS_TO_LPS).tolist()))
        return np.asarray(np.asarray(there) * RAS_TO_LPS, dtype=np.float64)

    errors = {name: float(np.linalg.norm(moved(np.array(place)) - known.landmarks[name])) for name, place in LANDMARKS_MM.items()}
    # Voxels of the posed MR, taken to the MR's own space, on to the PET's, and to its labels.
    size = posed.shape
    index = np.indices(size).reshape(3, -1)
    lps = np.asarray(posed.direction) @ (index * np.array(posed.spacing)[:, None]) + np.array(posed.origin)[:, None]
    centre, shifts = np.array(to_native.TransformPoint((0.0, 0.0, 0.0))), np.eye(3)
    linear = np.stack([np.array(to_native.TransformPoint(step.tolist())) - centre for step in shifts], axis=1)
    world = RAS_TO_LPS[:, None] * (linear @ lps + centre[:, None])
    onto = np.linalg.inv(map_of.affine) @ known.t1_to_pet
    places = onto[:3, :3] @ world + onto[:3, 3:]
    true = ndimage.map_coordinates(np.asarray(map_of.dataobj), places, order=0).reshape(size)
    overlap = {tissue: dice(tissues == number, true == LABELS[tissue]) for number, tissue in enumerate(TISSUES, start=1)}
    return {"LandmarkErrorMm": errors, "MeanLandmarkErrorMm": float(np.mean(list(errors.values()))), "TissueDice": overlap}


def _picture(data: Array, path: str) -> None:
    """Three central planes of a normalised map."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    for axis, place in enumerate(figure.subplots(1, 3)):
        place.imshow(np.take(data, data.shape[axis] // 2, axis=axis).T, origin="lower", cmap="gray", vmin=0, vmax=1)
        place.set_axis_off()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=80, metadata={"Software": None})
