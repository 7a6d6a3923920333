"""BrainWeb's models from its web site or a mirror; a module of its own, as how a model was fetched changes no subject made of it."""

from pathlib import Path

from petbench.data.brainweb import FOLDER, file_name, problem_of
from petbench.data.fetch import fetch

URL = "http://brainweb.bic.mni.mcgill.ca/cgi/brainweb1"
# What the site's form sends for a crisp model.
QUERY = "do_download_alias=subject{model}_crisp&format_value=raw_short&zip_value=gnuzip&download_for_real=%5BStart+download%21%5D"


def url_of(model: str, base: str = URL) -> str:
    """Where a model is downloaded from; `base` is BrainWeb's own address or a mirror's that answers the same query."""
    return f"{base}?{QUERY.format(model=model)}"


def fetch_model(model: str, path: str | Path, base: str = URL, sha256: str | None = None, folder: str | Path = FOLDER) -> str:
    """Download a model's file to `path`, unless it is there and whole; its SHA-256.

    Args:
        model: The model's two-digit number.
        path: Where to.
        base: As for `url_of`.
        sha256: What the file's SHA-256 must be, if it is known.
        folder: Where an error says that the file can be put by hand.

    Raises:
        InputError: it cannot be downloaded, or what comes is no model.
    """
    by_hand = f"or download it by hand and put it at {Path(folder) / file_name(model)}"
    return fetch(url_of(model, base), path, sha256=sha256, kind="gzip", problem=problem_of, by_hand=by_hand)
