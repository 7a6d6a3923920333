"""BrainWeb models through the workflow: fetched once, kept, taken from a folder, and refused in one line where they are broken."""

import json

import pytest
import yaml
from repo import PARALLEL, ROOT, copy_of_project

from petbench.errors import InputError
from petbench.workflow.entries import load

SCALE = ("--configfile", "tests/config/brainweb.yaml")
SUBJECTS = [f"results/brainweb/brainweb/truth/sub-{number}/sub-{number}_truth.json" for number in ("04", "41")]
METRICS = "results/brainweb/brainweb/drf4/low_dose/metrics.tsv"
MODEL = "results/downloads/brainweb/subject_{}.bin.gz"
KILLED = {"fetch_brainweb"}
pytestmark = pytest.mark.slow


@pytest.fixture
def repo(tmp_path, file_server, model_bytes):
    """The project, with a server of models that its scale asks."""
    repo = copy_of_project(tmp_path / "copy")
    repo.edit("tests/config/brainweb.yaml", "http://127.0.0.1:9", file_server.url)
    file_server.files["/cgi"] = model_bytes
    return repo


def acquire(repo, *targets, check=True):
    return repo.snakemake(*PARALLEL, *SCALE, "--", *(targets or SUBJECTS), check=check)


def line_of(done):
    """The one line a failed run ends in."""
    assert done.returncode != 0
    lines = {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("petbench: ")}
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return lines.pop()


def test_brainweb_runs_to_its_metrics_and_models_are_fetched_once_and_kept(repo, file_server, model_bytes, tmp_path):
    targets = [METRICS, "results/brainweb/brainweb/bids/dataset_description.json"]
    assert repo.killed(tmp_path / "struck", *PARALLEL, *SCALE, "--", *targets, only=KILLED) == KILLED
    assert "lesion" in (repo.path / METRICS).read_text()
    description = json.loads((repo.path / "results/brainweb/brainweb/bids/dataset_description.json").read_text())
    assert any("Aubert-Broche" in reference for reference in description["ReferencesAndLinks"])
    assert len(file_server.requests) == 3  # once more of the one that was about to be put in place
    assert (repo.path / MODEL.format("04")).read_bytes() == model_bytes
    truth = json.loads((repo.path / SUBJECTS[1]).read_text())
    assert truth["Origin"]["Model"] == "41"
    assert len(truth["Origin"]["SHA256"]) == 64

    # Changed code looks at the models again, fetches none, and makes no subject anew.
    repo.edit("src/petbench/data/fetch.py", "CHUNK = 1 << 18", "CHUNK = 1 << 17")
    assert repo.rules(*SCALE, "--", *SUBJECTS) == {"fetch_brainweb"}
    acquire(repo)
    # So does another address: a mirror has the same models.
    repo.edit("tests/config/brainweb.yaml", "/cgi", "/mirror")
    acquire(repo)
    assert len(file_server.requests) == 3
    assert repo.rules(*SCALE, "--", *SUBJECTS) == set()

    # What is damaged later is fetched anew when something looks at it.
    (repo.path / MODEL.format("04")).write_bytes(b"damaged")
    repo.edit("tests/config/brainweb.yaml", "/mirror", "/cgi")
    acquire(repo)
    assert (repo.path / MODEL.format("04")).read_bytes() == model_bytes
    assert len(file_server.requests) == 4


def test_models_placed_by_hand_are_taken_and_none_is_fetched(repo, file_server, model_bytes):
    folder = repo.path / "data/brainweb"
    folder.mkdir(parents=True)
    (folder / "subject_04.bin.gz").write_bytes(model_bytes)
    (folder / "subject41_crisp_v.raws.gz").write_bytes(model_bytes)
    acquire(repo)
    assert file_server.requests == []
    assert not (repo.path / "results/downloads").exists()


def test_a_broken_model_placed_by_hand_is_named(repo, model_bytes):
    path = repo.path / "data/brainweb/subject_04.bin.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(model_bytes[:5000])
    line = line_of(acquire(repo, SUBJECTS[0], check=False))
    assert line.startswith("petbench: data/brainweb/subject_04.bin.gz: the gzip file is cut short")
    assert not list((repo.path / "results").rglob("*.nii.gz"))


def test_a_page_in_place_of_a_model_is_named(repo, file_server):
    file_server.faults = ["html"]
    line = line_of(acquire(repo, SUBJECTS[0], check=False))
    assert "gives a web page instead of the file" in line
    assert "put it at data/brainweb/subject_04.bin.gz" in line
    assert not (repo.path / MODEL.format("04")).exists()


def test_another_checksum_is_named(repo, file_server):
    repo.edit("tests/config/brainweb.yaml", "working_mm: 4.0", f'sha256: {{"04": {"a" * 64}}}, working_mm: 4.0')
    line = line_of(acquire(repo, SUBJECTS[0], check=False))
    assert f"{'a' * 64} is expected" in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["04", "41"]', '["04", "07"]', ["subjects", "there is no model '07'", "04 05 06"]),
        ('["04", "41"]', "21", ["subjects", "20 models"]),
        ("working_mm", "worknig_mm", ["brainweb", "unknown key 'worknig_mm'; did you mean 'working_mm'"]),
        ("working_mm: 4.0", f"sha256: {{04: {'a' * 64}}}", ["brainweb/sha256", "in quotes"]),
    ],
)
def test_a_wrong_entry_is_named_when_it_is_read(old, new, words):
    text = (ROOT / "tests/config/brainweb.yaml").read_text()
    assert old in text
    with pytest.raises(InputError) as error:
        load(yaml.safe_load(text.replace(old, new)), ROOT)
    assert all(word in str(error.value) for word in words), error.value
