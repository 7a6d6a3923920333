"""Downloads that end in the whole, right file or in one line that says what to do."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from petbench.errors import InputError
from petbench.files import checksum, read_json, write_json

# How files of a kind begin.
MAGIC = {"gzip": b"\x1f\x8b"}
CHUNK = 1 << 18
# Answers of a server that may be another one a moment later.
PASSING = (408, 425, 429, 500, 502, 503, 504)


class _InterruptedError(Exception):
    """A download that stopped short: worth another attempt."""


def fetch(
    url: str,
    path: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    kind: str | None = None,
    problem: Callable[[Path], str | None] | None = None,
    by_hand: str | None = None,
    attempts: int = 5,
    wait_s: float = 1.0,
    timeout_s: float = 60.0,
) -> str:
    """Download `url` to `path`, unless it is there and whole.

    The download grows in `<path>.part` and is renamed at the end. One that was interrupted goes on where it stopped, if the server still
    has the same file (an HTTP range under `If-Range`); else it starts over.

    Args:
        url: Where from; http or https.
        path: Where to; its folder is made.
        size: The file's length in bytes, if it is known beforehand.
        sha256: Its SHA-256, if it is known beforehand.
        kind: A key of `MAGIC`: how the file must begin.
        problem: Reads a file and says what is wrong with it, None if nothing is.
        by_hand: What else a user can do, to end an error message with.
        attempts: How often to try, without getting further, where the network or the server fails.
        wait_s: Pause before the second attempt, doubled for each further one.
        timeout_s: How long to wait for a server that says nothing.

    Returns:
        The file's SHA-256.

    Raises:
        InputError: the address is none, the server has no such file or sends something else, or it cannot be reached.
    """
    from filelock import FileLock

    path = Path(path)
    mend = by_hand or f"or download it by hand and put it at {path}"
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise InputError(f"{url}: not an http or https address, so {path} is not fetched; correct the address, {mend}.")
    path.parent.mkdir(parents=True, exist_ok=True)

    def whole(file: Path) -> str:
        return _checked(file, size, sha256, kind, problem)

    with FileLock(path.with_name(path.name + ".lock")):
        if path.exists():
            try:
                return whole(path)
            except InputError as error:
                print(f"{path}: {error}; fetching it anew")
        part = _Part(path)
        failed, furthest = 0, part.length
        while True:
            try:
                _download(url, part, size, kind, timeout_s)
                found = _found(part, whole)
                break
            except _InterruptedError as error:
                failed = 0 if part.length > furthest else failed + 1
                furthest = max(furthest, part.length)
                if failed >= attempts:
                    raise InputError(f"{url}: {error}, {attempts} times over; try again later to go on with {path}, {mend}.") from None
                time.sleep(wait_s * 2 ** max(failed - 1, 0))
            except InputError as error:
                part.remove()
                raise InputError(f"{url}: {error}; check the address of {path}, {mend}.") from None
        part.file.replace(path)
        part.remove()
    return found


class _Part:
    """A download that is not finished: its bytes, and what the server called the version they belong to."""

    def __init__(self, path: Path) -> None:
        self.file = path.with_name(path.name + ".part")
        self._record = path.with_name(path.name + ".part.json")
        self.length_known = False

    @property
    def length(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def validator(self, url: str) -> str | None:
        """The version of the bytes here, if they are of `url` and the server named one."""
        if not (self.length and self._record.exists()):
            return None
        record = read_json(self._record)
        return record["validator"] if record["url"] == url else None

    def begin(self, url: str, validator: str | None) -> None:
        self.remove()
        if validator:
            write_json(self._record, {"url": url, "validator": validator})

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)


def _download(url: str, part: _Part, size: int | None, kind: str | None, timeout_s: float) -> None:
    """Add what is missing to `part`; `_InterruptedError` if not all of it came."""
    start, validator = part.length, part.validator(url)
    headers = {"User-Agent": "petbench", "Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _open(urllib.request.Request(url, headers=headers), part, timeout_s) as response:
        begins, total = _span(response)
        if response.headers.get_content_type() == "text/html":
            raise InputError("gives a web page instead of the file")
        if size is not None and total is not None and total != size:
            raise InputError(f"gives {total:,} bytes, and {size:,} are expected")
        if begins != (start if validator else 0):
            part.begin(url, None)
            raise _InterruptedError("the server resumes at another place than asked")
        if begins == 0:
            part.begin(url, _validator(response))
        part.length_known = total is not None
        _append(response, part, total, kind)
    if total is not None and part.length != total:
        raise _InterruptedError(f"the connection ended after {part.length:,} of {total:,} bytes")


def _append(response: Any, part: _Part, total: int | None, kind: str | None) -> None:
    from tqdm import tqdm

    magic = MAGIC[kind] if kind else b""
    bar = tqdm(desc=part.file.stem, total=total, initial=part.length, unit="B", unit_scale=True, disable=None, leave=False)
    with open(part.file, "ab") as file, bar:
        while chunk := _receive(lambda: response.read(CHUNK)):
            if file.tell() == 0 and not chunk.startswith(magic):
                raise InputError(f"gives a file that does not begin as {kind} does ({chunk[:20]!r})")
            file.write(chunk)
            bar.update(len(chunk))


def _open(request: urllib.request.Request, part: _Part, timeout_s: float) -> Any:
    opener = urllib.request.OpenerDirector()  # of its own, so that no redirection leads to a file or to ftp
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        return _receive(lambda: opener.open(request, timeout=timeout_s))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is here is longer than the server's file
            part.remove()
        if error.code == 416 or error.code in PASSING:
            raise _InterruptedError(f"the server answers {error.code} ({error.reason})") from None
        raise InputError(f"the server answers {error.code} ({error.reason})") from None


def _receive(read: Callable[[], Any]) -> Any:
    """What `read` returns; a failure of the network, and no other, becomes `_InterruptedError`."""
    try:
        return read()
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise _InterruptedError(f"cannot be reached ({error.reason})") from None
        raise InputError(f"cannot be opened ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(f"the connection broke ({type(error).__name__}: {error})") from None


def _span(response: Any) -> tuple[int, int | None]:
    """At which byte of the file an answer begins, and how long the whole file is, if the server says."""
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, int(length) if length and length.isdigit() else None
    unit, _, span = response.headers.get("Content-Range", "").partition(" ")
    begins, _, rest = span.partition("-")
    total = rest.partition("/")[2]
    if unit != "bytes" or not begins.isdigit():
        return -1, None
    return int(begins), int(total) if total.isdigit() else None


def _validator(response: Any) -> str | None:
    """What names this version of the file: its ETag unless that is a weak one, or the time it was changed."""
    tag: str | None = response.headers.get("ETag")
    changed: str | None = response.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else changed


def _found(part: _Part, whole: Callable[[Path], str]) -> str:
    try:
        return whole(part.file)
    except InputError as error:
        if part.length_known:
            raise
        # A server that does not say how long its file is cannot tell the end of the file from the end of the connection.
        part.remove()
        raise _InterruptedError(f"what it sends is not whole ({error})") from None


def _checked(file: Path, size: int | None, sha256: str | None, kind: str | None, problem: Callable[[Path], str | None] | None) -> str:
    """SHA-256 of a file that is what it should be; else an `InputError` that says what is wrong and no more."""
    length, found = file.stat().st_size, checksum(file)
    if size is not None and length != size:
        raise InputError(f"gives {length:,} bytes, and {size:,} are expected")
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"gives a file with the SHA-256 {found}, and {sha256.lower()} is expected")
    with open(file, "rb") as opened:
        begin = opened.read(20)
    if kind and not begin.startswith(MAGIC[kind]):
        raise InputError(f"gives a file that does not begin as {kind} does ({begin!r})")
    if problem and (reason := problem(file)):
        raise InputError(f"gives a wrong file: {reason}")
    return found
