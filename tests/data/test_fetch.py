"""Downloads against a server that is good, cuts off, resumes, forgets, errs and sends pages."""

import gzip
import hashlib
import random
import threading

import pytest

from petbench.data.fetch import fetch
from petbench.errors import InputError

BODY = gzip.compress(random.Random(0).randbytes(600_000), mtime=0)
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = {"wait_s": 0.01, "timeout_s": 5.0}


@pytest.fixture
def server(file_server):
    file_server.files["/a.gz"] = BODY
    return file_server


@pytest.fixture
def get(server, tmp_path):
    """Fetch the server's file; the path it goes to is `get.path`."""

    def fetched(**changes):
        return fetch(changes.pop("url", f"{server.url}/a.gz"), fetched.path, **(QUICK | changes))

    fetched.path = tmp_path / "new" / "a.gz"
    return fetched


def refused(get, **changes):
    """The one line of an error, after which neither target nor part is left."""
    with pytest.raises(InputError) as error:
        get(**changes)
    text = str(error.value)
    assert "\n" not in text
    assert str(get.path) in text
    assert not get.path.exists()
    return text


def left(get):
    return sorted(path.name for path in get.path.parent.iterdir() if path.suffix != ".lock")


def test_a_good_file_arrives_whole_and_alone(get, server, capfd):
    assert get(size=len(BODY), sha256=SHA256.upper(), kind="gzip", problem=lambda path: None) == SHA256
    assert get.path.read_bytes() == BODY
    assert left(get) == ["a.gz"]
    assert "Range" not in server.requests[0]
    assert capfd.readouterr().err == ""  # progress is for terminals


def test_a_file_that_is_there_and_whole_is_not_asked_for(get, server):
    get()
    get(sha256=SHA256)
    assert len(server.requests) == 1


def test_a_file_that_is_there_and_broken_is_fetched_anew(get, server):
    get.path.parent.mkdir()
    get.path.write_bytes(BODY[:1000])
    assert get(size=len(BODY)) == SHA256
    assert get.path.read_bytes() == BODY


@pytest.mark.parametrize("cuts", [1, 3, 12])
def test_a_cut_connection_is_resumed_where_it_stopped(get, server, cuts):
    server.faults = ["cut"] * cuts
    get(attempts=2, sha256=SHA256)
    assert get.path.read_bytes() == BODY
    starts = [int(request.get("Range", "bytes=0-")[6:-1]) for request in server.requests]
    assert starts[:2] == [0, len(BODY) // 2]
    assert sorted(set(starts)) == starts  # it never asks for what it has


def test_a_later_run_resumes_what_an_earlier_one_left(get, server):
    server.faults = ["cut", 500, 500]
    text = refused(get, attempts=2)
    assert "500" in text
    assert "try again later to go on" in text
    assert left(get) == ["a.gz.part", "a.gz.part.json"]
    get(sha256=SHA256)
    assert get.path.read_bytes() == BODY
    assert server.requests[-1]["Range"] == f"bytes={len(BODY) // 2}-"
    assert left(get) == ["a.gz"]


@pytest.mark.parametrize("second", ["no_range", "wrong_place"])
def test_a_server_that_does_not_resume_sends_all_again(get, server, second):
    server.faults = ["cut", second]
    get(sha256=SHA256)
    assert get.path.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(get, server):
    server.faults = ["cut", 500]
    refused(get, attempts=1)
    server.files["/a.gz"] = changed = gzip.compress(b"other" * 99_999)
    server.version = '"2"'
    get()
    assert get.path.read_bytes() == changed


def test_a_part_of_another_address_is_not_gone_on_with(get, server):
    server.faults = ["cut", 500]
    refused(get, attempts=1)
    server.files["/mirror.gz"] = BODY
    get(url=f"{server.url}/mirror.gz", sha256=SHA256)
    assert "Range" not in server.requests[-1]


def test_a_part_whose_version_is_unknown_is_fetched_from_the_start(get, server):
    server.faults = ["no_version"]
    get(sha256=SHA256)
    assert "Range" not in server.requests[1]


def test_a_part_longer_than_the_file_is_thrown_away(get, server):
    server.faults = ["cut", 500]
    refused(get, attempts=1)
    with open(get.path.with_name("a.gz.part"), "ab") as part:
        part.write(BODY)
    get(sha256=SHA256)
    assert get.path.read_bytes() == BODY


def test_a_cut_that_the_server_does_not_tell_is_seen_by_the_check_and_tried_again(get, server):
    server.faults = ["no_length"]
    get(problem=lambda path: None if path.stat().st_size == len(BODY) else "it is cut short")
    assert get.path.read_bytes() == BODY
    get.path.unlink()
    server.faults = ["no_length"] * 3
    assert "it is cut short" in refused(get, attempts=3, problem=lambda path: "it is cut short")


def test_trouble_that_passes_is_waited_for(get, server):
    server.faults = [503, 500, "stall", 429]
    assert get(timeout_s=0.2) == SHA256
    assert len(server.requests) == 5


def test_trouble_that_stays_ends_in_one_line(get, server):
    server.faults = [503] * 4
    text = refused(get, attempts=4, by_hand="or put it at hand/a.gz")
    assert "503" in text
    assert text.endswith("or put it at hand/a.gz.")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("fault", "wanted", "words"),
    [
        (404, {}, "answers 404"),
        (403, {}, "answers 403"),
        ("html", {}, "web page"),
        ("page", {"kind": "gzip"}, "does not begin as gzip"),
        ("", {"size": len(BODY) + 1}, f"gives {len(BODY):,} bytes, and {len(BODY) + 1:,} are expected"),
        ("", {"sha256": "0" * 64}, SHA256),
        ("", {"problem": lambda path: "it holds no brain"}, "it holds no brain"),
    ],
)
def test_what_is_not_the_file_is_refused_at_once(get, server, fault, wanted, words):
    server.faults = [fault]
    text = refused(get, **wanted)
    assert words in text
    assert text.startswith(f"{server.url}/a.gz: ")
    assert "download it by hand and put it at" in text
    assert left(get) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a.gz", "a.gz", "http:///a.gz"])
def test_other_addresses_are_refused(get, url):
    with pytest.raises(InputError, match="not an http or https address"):
        get(url=url)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.gz"])
def test_a_redirection_to_another_scheme_is_refused(get, server, target):
    server.redirect = target
    refused(get)


def test_a_server_that_is_not_there_is_named(get):
    text = refused(get, url="http://127.0.0.1:9/a.gz", attempts=2)
    assert "http://127.0.0.1:9/a.gz: cannot be reached" in text


def test_two_at_once_fetch_it_once(get, server):
    threads = [threading.Thread(target=get) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get.path.read_bytes() == BODY
    assert len(server.requests) == 1
