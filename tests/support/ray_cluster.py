"""One Ray head for the whole test run, and executors on it that know nothing of each other."""

import atexit
import functools
import hashlib
import shutil
import tempfile
from pathlib import Path

from msgspec import structs

from backends.executors.ray import RayExecutor, RayHandle, start_head, stop_head
from scheduler.model.cluster import Cell, Pool

CELL = Cell(
    name="cell-one",
    executor="ray",
    pools=(
        Pool(name="node", accelerator="h200", nodes=4, devices_per_node=8, cpu_milli=8000, memory_mib=8000),
        Pool(name="small", accelerator="h20-96", nodes=2, devices_per_node=4, cpu_milli=8000, memory_mib=8000),
    ),
)


@functools.cache
def shared_head() -> RayHandle:
    """The head, started by the first who asks and reaped when the test run ends."""
    home = Path(tempfile.mkdtemp(prefix="dualtrack-test-ray-"))
    handle = start_head(home, CELL)

    def reap() -> None:
        stop_head(handle)
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(reap)
    return handle


def executor_in(place: Path) -> RayExecutor:
    """An executor on the shared head. The same place is the same world, another place is another one."""
    return RayExecutor(handle_for(place), place / "ray")


def handle_for(place: Path) -> RayHandle:
    namespace = f"test-{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"
    return structs.replace(shared_head(), namespace=namespace)
