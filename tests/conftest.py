"""What tests of several folders share: a file like BrainWeb's, and a web server that can misbehave."""

import gzip
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

# Before torch and numba start: tests run beside each other, where threads that wait for work by spinning take it from the others.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"} | os.environ

# Nested ellipsoids from the skin inwards: label, half axes along x, y, z in mm.
SHELLS = (
    (6, (82, 100, 86)),
    (4, (79, 97, 83)),
    (5, (77, 95, 81)),
    (7, (75, 93, 79)),
    (11, (73, 91, 77)),
    (7, (71, 89, 75)),
    (10, (69, 87, 73)),
    (1, (68, 86, 72)),
    (2, (65, 83, 69)),
    (3, (54, 72, 58)),
    (1, (14, 24, 10)),
)
CENTRE_MM = (0.0, -17.0, 14.0)


# What waits for a cluster, and what makes the longest run, on which others build.
FIRST = ("test_slurm", "test_whole_run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes long, and end with what waits for the longest; each file's tests are given to one process (Makefile)."""

    def place(item: pytest.Item) -> tuple[int, bool, bool]:
        first = FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST)
        return first, "tiny" in getattr(item, "fixturenames", ()), item.get_closest_marker("slow") is None

    items.sort(key=place)


@pytest.fixture(scope="session")
def model_labels():
    """Labels (x, y, z) of a head of ellipsoids on the grid of BrainWeb's models; fat only on its right, vessels in front."""
    shape, origin = (362, 434, 362), (-90.25, -126.25, -72.25)
    x, y, z = (
        ((np.arange(size) * 0.5 + first - centre) ** 2).astype(np.float32)
        for size, first, centre in zip(shape, origin, CENTRE_MM, strict=True)
    )
    labels = np.zeros(shape, dtype=np.uint8)
    for label, (a, b, c) in SHELLS:
        labels[(x / a**2)[:, None, None] + (y / b**2)[:, None] + z / c**2 <= 1] = label
    half = labels[:181]
    half[half == 4] = 9
    front = labels[:, 400:]
    front[front == 1] = 8
    return labels


@pytest.fixture(scope="session")
def model_bytes(model_labels):
    """The content of a model's file, low bits set as in some of BrainWeb's."""
    words = model_labels.transpose(2, 1, 0).astype("<u2") << 4
    words[:, ::7] |= 3
    return gzip.compress(words.tobytes(), compresslevel=1, mtime=0)


@dataclass
class Server:
    """A web server on this machine. `faults` are taken one a request; `requests` are the headers it got.

    A fault is a status, or one of `cut` (half of the body), `stall`, `html`, `page` (HTML called binary), `no_length` (cut without a
    length given), `no_range`, `no_version`, `wrong_place`.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str | int] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    version: str = '"1"'
    redirect: str = ""
    url: str = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status: int, body: bytes, kind: str = "application/octet-stream", **headers: str):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            server.requests.append({"path": self.path, **dict(self.headers)})
            fault = server.faults.pop(0) if server.faults else ""
            body = server.files.get(self.path.split("?")[0])
            page = b"<!DOCTYPE html><title>Busy</title>"
            if server.redirect:
                return self.answer(302, b"", Location=server.redirect)
            if isinstance(fault, int) or body is None:
                return self.answer(fault or 404, page, "text/html")
            if fault in ("html", "page"):
                return self.answer(200, page, "text/html" if fault == "html" else "application/gzip", Content_Length=str(len(page)))
            if fault == "stall":
                return time.sleep(1)
            version = {} if fault == "no_version" else {"ETag": server.version}
            asked = self.headers.get("Range", "") if self.headers.get("If-Range") == server.version and fault != "no_range" else ""
            start = int(asked.removeprefix("bytes=").removesuffix("-") or 0)
            if start >= len(body):
                return self.answer(416, b"")
            rest = body[start:]
            sent = rest[: len(rest) // 2] if fault in ("cut", "no_length", "no_version") else rest
            length = {} if fault == "no_length" else {"Content_Length": str(len(rest))}
            if not asked:
                return self.answer(200, sent, **version, **length)
            place = start + (fault == "wrong_place")
            return self.answer(206, sent, Content_Range=f"bytes {place}-{len(body) - 1}/{len(body)}", **version, **length)

    return Handler


@pytest.fixture
def file_server() -> Callable[[], Server]:
    server = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    http.shutdown()
    http.server_close()
