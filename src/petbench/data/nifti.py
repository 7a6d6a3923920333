"""Volumes on disk: NIfTI in, NIfTI out, geometry kept, identity left behind."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

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


def read_frames(path: str | Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read images along a fourth axis, or a single one: the data, and their affine.

    Raises:
        InputError: the file is missing, is no NIfTI, or is cut short.
    """
    stored, data = _read(path, whole=False)
    return data, np.asarray(stored.affine, dtype=np.float64)


def _read(path: str | Path, whole: bool) -> tuple[Image, NDArray[np.float32]]:
    try:
        stored = nibabel.load(path)
        data = np.asarray(stored.dataobj, dtype=np.float32)
        if whole and Path(path).suffix == ".gz":
            _check_gzip(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except Exception as error:  # nibabel, gzip and zlib each raise their own kinds for a broken file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as NIfTI ({reason}); the file is cut short or damaged, copy it again.") from None
    return stored, data


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
