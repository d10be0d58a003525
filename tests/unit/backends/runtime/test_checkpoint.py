import msgspec
import pytest
import torch

from backends.runtime.checkpoint import CheckpointStore
from scheduler.errors import StaleEpochError

FIGURES = {"samples": 0, "world_size": 1, "accelerator": "h200"}


def store(place, attempt=1):
    opened = CheckpointStore(place, "job-a", attempt)
    opened.open()
    return opened


def save(checkpoints, step, value=None):
    state = {"weights": torch.full((3,), float(step if value is None else value)), "names": ["a", ("b", 1)]}
    return checkpoints.save(state, step=step, done=float(step), **FIGURES)


def test_what_was_saved_is_loaded_with_its_manifest(tmp_path):
    manifest = save(store(tmp_path), 7)
    later = store(tmp_path, attempt=2)
    assert later.newest() == manifest
    assert (manifest.attempt, manifest.step, manifest.done) == (1, 7, 7.0)
    state = later.load(manifest)
    assert torch.equal(state["weights"], torch.full((3,), 7.0))
    assert state["names"] == ["a", ("b", 1)]


def test_nothing_saved_is_nothing_to_load(tmp_path):
    assert store(tmp_path).newest() is None


def test_the_newest_attempt_counts_before_the_furthest_step(tmp_path):
    save(store(tmp_path, 1), 50)
    save(store(tmp_path, 2), 40)
    assert store(tmp_path, 3).newest().step == 40


@pytest.mark.parametrize("harm", [lambda f: f.write_bytes(f.read_bytes()[:-1]), lambda f: f.unlink()])
def test_a_torn_or_missing_file_is_passed_over_for_the_one_before(tmp_path, harm):
    checkpoints = store(tmp_path)
    save(checkpoints, 1)
    harm(tmp_path / save(checkpoints, 2).file)
    assert checkpoints.newest().step == 1


def test_a_manifest_that_cannot_be_read_and_drafts_do_not_count(tmp_path):
    checkpoints = store(tmp_path)
    save(checkpoints, 1)
    (tmp_path / "checkpoint-1-2.json").write_text('{"job_id": ')
    (tmp_path / "checkpoint-1-3.pt").write_bytes(b"without a manifest")
    (tmp_path / ".checkpoint-1-4.pt.99").write_bytes(b"half")
    assert checkpoints.newest().step == 1


def test_an_older_attempt_that_still_lives_can_no_longer_save(tmp_path):
    older = store(tmp_path, 1)
    save(older, 1)
    save(store(tmp_path, 2), 2)
    with pytest.raises(StaleEpochError, match="attempt 2 has taken over"):
        save(older, 3)
    with pytest.raises(StaleEpochError):
        older.open()
    assert older.newest().step == 2
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_failed_save_leaves_what_was_saved_before(tmp_path, monkeypatch):
    checkpoints = store(tmp_path)
    save(checkpoints, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(checkpoints, 2)
    assert checkpoints.newest().step == 1
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_two_are_kept(tmp_path):
    checkpoints = store(tmp_path)
    for step in range(5):
        save(checkpoints, step)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["checkpoint-1-3.pt", "checkpoint-1-4.pt"]


def test_a_file_that_holds_code_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    checkpoints = store(tmp_path)
    manifest = save(checkpoints, 1)
    torch.save({"weights": Harm()}, tmp_path / manifest.file)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoints.load(manifest)


def test_a_manifest_of_a_newer_dualtrack_with_more_fields_still_loads(tmp_path):
    checkpoints = store(tmp_path)
    manifest = save(checkpoints, 1)
    path = (tmp_path / manifest.file).with_suffix(".json")
    path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(manifest), "mesh": [1, 2]}))
    assert checkpoints.newest() == manifest
