"""What a Ray cluster holds, asked by a process of its own, so that the tests' process never loads Ray.

python ray_inspection.py ADDRESS   (the token comes by Ray's own variables)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from backends.executors.ray import RayHandle

__all__ = ["holdings"]


def holdings(handle: RayHandle) -> tuple[list[str], list[str]]:
    """Names of the live actors and of the placement groups of the handle's namespace."""
    env = {**os.environ, **handle.environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, __file__, handle.address], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    actors, groups = json.loads(done.stdout.splitlines()[-1])
    return (
        [actor["name"] for actor in actors if actor["namespace"] == handle.namespace],
        [name for name in groups if name.startswith(f"{handle.namespace}/")],
    )


def _look(address: str) -> None:
    import ray
    from ray.util.placement_group import placement_group_table

    ray.init(address=address, log_to_driver=False, configure_logging=False)
    groups = [row["name"] for row in placement_group_table().values() if row["state"] != "REMOVED"]
    print(json.dumps([ray.util.list_named_actors(all_namespaces=True), groups]))


if __name__ == "__main__":
    _look(sys.argv[1])
