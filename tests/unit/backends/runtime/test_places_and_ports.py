import os
import socket
import threading

import pytest

from backends.runtime import ports
from backends.runtime.output import RankOutput, read_all
from backends.runtime.places import AttemptPlace, locked, write_atomically
from scheduler.errors import UnavailableError


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_only_one_holds_a_lock_even_within_a_process(tmp_path):
    inside, most = [], []

    def hold():
        for _ in range(50):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


def test_free_ports_are_different_and_free():
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", found[0]))


def test_too_few_free_ports_are_told_in_words(monkeypatch):
    monkeypatch.setattr(ports, "_is_free", lambda host, port: False)
    with pytest.raises(UnavailableError, match="0 free ports of 3"):
        ports.free_ports(3)


def test_the_stream_of_all_ranks_only_grows_and_survives_its_readers(tmp_path):
    place = AttemptPlace(tmp_path, "job", 1)
    place.directory.mkdir(parents=True)
    ranks = [RankOutput(f"main/{i}", tmp_path / f"rank-{i}") for i in range(2)]
    ranks[0].path.write_bytes(b"a1\na2 unfinished")
    first = read_all(place, ranks, 0)
    assert first == b"[main/0] a1\n"
    ranks[1].path.write_bytes(b"b1\n")
    with ranks[0].path.open("ab") as file:
        file.write(b" now\n")
    with place.output.open("ab") as file:
        file.write(b"left by a reader that crashed")
    second = read_all(place, ranks, 0)
    assert second == first + b"[main/0] a2 unfinished now\n[main/1] b1\n"
    assert read_all(place, ranks, len(first)) == second[len(first) :]
