import os
import subprocess
import sys

import msgspec

from backends.runtime.processes import children, identify, is_alive, kill_session
from tests.support.waiting import until

CHILD = "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True); time.sleep(600)"


def leader():
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"up\n"
    return process


def test_we_are_alive_and_an_ended_process_is_not():
    assert is_alive(identify(os.getpid()))
    process = subprocess.Popen(["true"])
    identity = identify(process.pid)
    until(lambda: not is_alive(identity), what="the end of the process, before it is reaped")
    process.wait()
    assert not is_alive(identity)


def test_a_number_that_was_given_out_again_is_not_taken_for_ours():
    us = identify(os.getpid())
    assert not is_alive(msgspec.structs.replace(us, started=us.started - 1))
    assert not is_alive(msgspec.structs.replace(us, boot="another boot"))


def test_killing_a_session_takes_the_children_too():
    process = leader()
    (child,) = children(process.pid)
    grandchild = identify(child)
    assert kill_session(identify(process.pid)) == 2
    assert process.wait() == -9
    until(lambda: not is_alive(grandchild), what="the end of the child")
    process.stdout.close()


def test_the_children_are_found_after_their_leader_has_gone():
    process = leader()
    identity, (child,) = identify(process.pid), children(process.pid)
    orphan = identify(child)
    process.kill()
    process.wait()
    assert is_alive(orphan)
    assert kill_session(identity) == 1
    until(lambda: not is_alive(orphan), what="the end of the orphan")
    process.stdout.close()


def test_a_session_whose_number_belongs_to_another_is_left_alone():
    process = leader()
    stranger = msgspec.structs.replace(identify(process.pid), started=1)
    assert kill_session(stranger) == 0
    assert process.poll() is None
    kill_session(identify(process.pid))
    process.wait()
    process.stdout.close()
