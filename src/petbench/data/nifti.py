"""Volumes on disk: NIfTI in, NIfTI out, geometry kept, identity left behind."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from petbench.data.affines import edges_mm
from petbench.errors import InputError
from petbench.files import atomic


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Let a package look as if it were not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


# It looks for pydicom, which takes nearly as long to import as all else of it, for header extensions that nothing here reads.
with _without("pydicom"):
    import nibabel

Image: TypeAlias = nibabel.Nifti1Image

GZIP = b"\x1f\x8b"
ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
HEADER_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ORDERS)
LEAST_SLICES = 3
MOST_SHEAR = 0.005
"""Cosine of two axes' angle that rounding of headers explains: a millimetre over a head."""


def read_volume(path: str | Path) -> Image:
    """Read a three-dimensional image whole and check it.

    A fourth axis of length one is dropped.

    Returns:
        The image with its data in memory as float32, its affine, form codes and units as in the file.

    Raises:
        InputError: the file is missing, is no NIfTI, is cut short, has no usable affine, is not three-dimensional,
            or holds a value that is not finite.
    """
    stored, data = _read(path, whole=True)
    if not isinstance(stored, nibabel.Nifti1Image):
        raise InputError(f"{path}: is {type(stored).__name__}, not NIfTI; convert it first.")
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if 0 in data.shape:
        raise InputError(f"{path}: has shape {data.shape}, so no voxels; convert it again from DICOM.")
    if not np.isfinite(stored.affine).all() or np.linalg.det(stored.affine[:3, :3]) == 0:
        raise InputError(f"{path}: its header gives voxels no size or place (affine {stored.affine.tolist()}); mend the header.")
    if data.ndim != 3:
        raise InputError(f"{path}: has shape {data.shape}, not three axes; average or select its frames first.")
    if not np.isfinite(data).all():
        count = int(np.count_nonzero(~np.isfinite(data)))
        raise InputError(f"{path}: {count} voxels are NaN or infinite; replace them first.")
    header = stored.header.copy()
    header.set_data_shape(data.shape)
    return Image(data, stored.affine, header)


def read_acquired(path: str | Path) -> Image:
    """Read an image as a scanner gave it, and check that it says where its voxels lie, in millimetres and once.

    Returns:
        See `read_volume`.

    Raises:
        InputError: as `read_volume`; every voxel has one value; it is a slice; neither form code is set, so that left and right are
            unknown; its units are not millimetres; qform and sform put a voxel in two places; or its axes are not perpendicular.
    """
    image = read_volume(path)
    if np.ptp(np.asarray(image.dataobj)) == 0:
        raise InputError(f"{path}: every voxel has the same value; supply the acquired image.")
    if min(image.shape) < LEAST_SLICES:
        raise InputError(f"{path}: has shape {image.shape}, which is no volume of a head; give all its slices.")
    qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    if qform is None and sform is None:
        raise InputError(f"{path}: qform_code and sform_code are 0, so that left and right are unknown; convert it again from DICOM.")
    if image.header.get_xyzt_units()[0] not in ("mm", "unknown"):
        raise InputError(f"{path}: xyzt_units is {image.header.get_xyzt_units()[0]!r}; write its affine and units in millimetres.")
    if qform is not None and sform is not None:
        apart = _farthest(qform, sform, image.shape)
        turned = np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0
        if turned or apart > voxel_mm(image).max():
            mirrored = ", one of them mirrored" if turned else ""
            raise InputError(
                f"{path}: its qform and sform put one voxel in places {apart:.1f} mm apart{mirrored}; keep the one that is right (set the"
                " other's code to 0), or convert it again from DICOM."
            )
    axes = np.asarray(image.affine)[:3, :3] / voxel_mm(image)
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > MOST_SHEAR:
        degrees = np.degrees(np.arccos(shear))
        raise InputError(
            f"{path}: its affine is sheared, two of its axes meet at {degrees:.0f} degrees; resample it to perpendicular axes."
        )
    return image


def _farthest(affine: NDArray[np.floating], other: NDArray[np.floating], shape: tuple[int, ...]) -> float:
    """The largest distance (mm) between the places that two affines give one voxel, which is at a corner."""
    corners = np.stack(np.meshgrid(*([0, size - 1] for size in shape), [1], indexing="ij"), axis=-1).reshape(-1, 4)
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def read_frames(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read images along a fourth axis, or a single one: the data, and their affine.

    Raises:
        InputError: the file is missing, is no NIfTI, or is cut short.
    """
    stored, data = _read(path, whole=False)
    return data, np.asarray(stored.affine, dtype=np.float64)


def _read(path: str | Path, whole: bool) -> tuple[Image, NDArray[np.float32]]:
    try:
        _check_name(path)
        _check_slope(path)
        stored = nibabel.load(path)
        _check_values(path, stored)
        data = np.asarray(stored.dataobj, dtype=np.float32)
        if whole and Path(path).suffix == ".gz":
            _check_gzip(path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except Exception as error:  # nibabel, gzip and zlib each raise their own kinds for a broken file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as NIfTI ({reason}); the file is cut short or damaged, copy it again.") from None
    return stored, data


def _check_name(path: str | Path) -> None:
    """Where a name says gzip and the file is none, or the other way round, nibabel only finds a bad header."""
    with open(path, "rb") as file:
        first = file.read(4)
    zipped, named = first[:2] == GZIP, Path(path).suffix == ".gz"
    if zipped and not named:
        raise InputError(f"{path}: is compressed, which its name does not say; rename it to end in .nii.gz.")
    if named and first in HEADER_SIZES:
        raise InputError(f"{path}: is not compressed, as its name says; rename it to end in .nii.")


def _check_values(path: str | Path, stored: Image) -> None:
    """That voxels are real numbers."""
    kind = stored.get_data_dtype()
    if kind.fields is not None:
        raise InputError(f"{path}: its voxels are colours, a picture of an image; export the image itself.")
    if kind.kind == "c":
        raise InputError(f"{path}: its voxels are complex numbers, whose imaginary part would be lost; write their magnitude.")


def _check_slope(path: str | Path) -> None:
    """That voxels are multiplied by a number: nibabel takes an infinite slope for none, and a bad intercept for damage."""
    with gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb") as file:
        content = file.read(540)
    kinds = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
    kind = next((kinds[size] for size in kinds for order in ORDERS if content[:4] == size.to_bytes(4, order)), None)
    if kind is None or len(content) < kind.template_dtype.itemsize:
        return
    raw = kind(content[: kind.template_dtype.itemsize], check=False)
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if np.isinf(slope) or (slope != 0 and np.isfinite(slope) and not np.isfinite(intercept)):
        raise InputError(f"{path}: its voxels are to be multiplied by {slope:g} (scl_slope) and {intercept:g} is to be added; mend both.")


def _check_gzip(path: str | Path) -> None:
    """Read a gzip file to its end, where its checksum is: nibabel stops at the last voxel and never compares it."""
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def volume(data: NDArray[np.generic], affine: NDArray[np.floating]) -> Image:
    """Make an image in scanner coordinates (millimetres, form codes 1) from an array and its affine."""
    image = Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    return image


def write_volume(path: str | Path, data: NDArray[np.generic], like: Image) -> None:
    """Write `data` on the grid of `like`, keeping its affine, units and both form codes and nothing else of its header.

    Raises:
        InputError: `data` does not have the shape of `like`, or holds a value that is not finite.
    """
    if data.shape != like.shape:
        raise InputError(f"{path}: data of shape {data.shape} cannot take the grid of an image of shape {like.shape}.")
    if not np.isfinite(data).all():
        raise InputError(f"{path}: refused to write values that are NaN or infinite.")
    image = Image(data if data.dtype.kind in "iu" else data.astype(np.float32), like.affine)
    image.header.set_xyzt_units(*like.header.get_xyzt_units())
    image.set_qform(like.get_qform(), int(like.header["qform_code"]))
    image.set_sform(like.get_sform(), int(like.header["sform_code"]))
    with atomic(path) as temporary:
        nibabel.save(image, temporary)


def voxel_mm(image: Image) -> NDArray[np.float64]:
    """Edge lengths of a voxel along its three axes, in millimetres."""
    return edges_mm(image.affine)


def canonical(image: Image) -> Image:
    """The same image with its axes in the order and direction nearest to right, front and head."""
    return nibabel.as_closest_canonical(image)


def same_grid(image: Image, other: Image) -> bool:
    """Whether two images have one shape, and one affine to a thousandth of a millimetre: headers hold float32."""
    return image.shape == other.shape and np.allclose(image.affine, other.affine, rtol=0, atol=1e-3)
