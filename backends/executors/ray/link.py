"""The connection to a Ray cluster: every call has a time-out, and every exception of Ray becomes one of ours.

Lives in the gateway process alone. Ray's own library may end the process that holds it, for instance when the head has
been gone for a minute; no scheduler should go with it.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions
from msgspec import Struct
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from backends.executors.ray.actor import TaskActor
from backends.executors.ray.request import ActorRequest, RayRequest
from scheduler.errors import ExecutorError, OutcomeUnknownError, UnavailableError

__all__ = ["ActorGoneError", "Group", "RayLink", "translated"]

CALLS_AT_ONCE = 8  # of one actor: a waiting look at its reports must not keep out a stop
QUICK_TRIES = 3
QUICK_TRY_S = 0.4
"""Ray places a group at once or looks again after a while, up to a second later. Capacity that was freed just before is
often missed by the first look, so a group is asked for anew a few times, which looks at once."""

PLACED_POLL_S = 0.01


class ActorGoneError(ExecutorError):
    """The actor is dead, or there is none of that name."""


class Group(Struct, frozen=True):
    """A placement group that is there: its name and the number of its bundles."""

    name: str
    bundles: int


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise our errors for Ray's."""
    try:
        yield
    except ray.exceptions.GetTimeoutError:
        raise OutcomeUnknownError(f"Ray did not answer in time while {doing}") from None
    except (ray.exceptions.ActorDiedError, ray.exceptions.ActorUnschedulableError):
        raise ActorGoneError(f"an actor was gone while {doing}") from None
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"Ray failed while {doing}: {_first_line(error)}") from None
    except (RuntimeError, ValueError, OSError) as error:  # its client raises these as well
        raise ExecutorError(f"Ray failed while {doing}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else (lines or [type(error).__name__])[0])[:200]


class RayLink:
    """One cluster and one namespace. The environment must already name the cluster's token."""

    def __init__(self, address: str, namespace: str) -> None:
        self.namespace = namespace
        try:
            ray.init(
                address=address,
                namespace=namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise UnavailableError(f"cannot join Ray at {address}: {_first_line(error)}") from None
        self._actor_class = ray.remote(TaskActor)

    def close(self) -> None:
        with translated("leaving the cluster"):
            ray.shutdown()

    def nodes_offering(self) -> Mapping[str, float]:
        """All resources of live nodes, summed by name."""
        total: dict[str, float] = {}
        with translated("looking at its nodes"):
            for node in ray.nodes():
                for name, amount in node["Resources"].items() if node["Alive"] else ():
                    total[name] = total.get(name, 0.0) + amount
        return total

    def hosts(self, group: Any) -> list[str]:
        """The address of the node of each bundle of a placed group.

        Asked by the group's id: under its name the table may still hold one that was removed, and placed nowhere.
        """
        with translated("looking where it placed a group"):
            addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
            places = placement_group_table(group)["bundles_to_node_id"]
            if not all(node in addresses for node in places.values()):
                raise ExecutorError("a node went while Ray placed the gang on it")
            return [addresses[places[index]] for index in sorted(places)]

    def groups(self) -> list[Group]:
        """The placement groups of our namespace that were not removed."""
        with translated("listing placement groups"):
            return [
                Group(row["name"], len(row["bundles"]))
                for row in self._table()
                if row["name"].startswith(f"{self.namespace}/") and row["state"] != "REMOVED"
            ]

    def _table(self) -> Sequence[dict[str, Any]]:
        return list(placement_group_table().values())

    def place_group(self, request: RayRequest, timeout_s: float) -> Any:
        """Reserve every bundle or none. Raises ExecutorError when there is no room within the time."""
        deadline = time.monotonic() + timeout_s
        with translated("placing a group"):
            for tries in itertools.count(1):
                group = placement_group([dict(b) for b in request.bundles], name=request.group, lifetime="detached")
                until = deadline if tries > QUICK_TRIES else min(deadline, time.monotonic() + QUICK_TRY_S)
                if self._is_placed(group, until):
                    return group
                remove_placement_group(group)
                if time.monotonic() >= deadline:
                    break
        raise ExecutorError(f"Ray has no room for the gang within {timeout_s:g} s")

    def _is_placed(self, group: Any, until: float) -> bool:
        """Whether Ray places the group by then. Its own wait knows whole seconds only."""
        while placement_group_table(group)["state"] != "CREATED":
            if time.monotonic() >= until:
                return False
            time.sleep(PLACED_POLL_S)
        return True

    def remove_groups(self, prefix: str) -> None:
        """Remove the groups whose names begin so; what runs in them is killed by Ray."""
        with translated("removing a placement group"):
            for row in self._table():
                if row["name"].startswith(prefix) and row["state"] != "REMOVED":
                    remove_placement_group(ray.util.get_placement_group(row["name"]))

    def create_actor(self, group: Any, request: ActorRequest, arguments: Sequence[object]) -> Any:
        options = self._actor_class.options(
            name=request.name,
            namespace=self.namespace,
            lifetime="detached",
            num_cpus=request.num_cpus,
            resources=dict(request.resources),
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS_AT_ONCE,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, request.bundle),
        )
        with translated("creating an actor"):
            return options.remote(*arguments)

    def actors(self) -> list[str]:
        """Names of the live actors of our namespace."""
        with translated("listing actors"):
            return [str(name) for name in ray.util.list_named_actors()]

    def find_actor(self, name: str) -> Any | None:
        """The live actor of that name, or None."""
        with translated("looking for an actor"):
            try:
                return ray.get_actor(name, namespace=self.namespace)
            except ValueError:  # what Ray says of a name that no live actor has
                return None

    def kill_actor(self, handle: Any) -> None:
        with translated("killing an actor"):
            ray.kill(handle, no_restart=True)

    def answers(self, references: Sequence[Any], timeout_s: float, doing: str) -> list[Any]:
        """The results of calls, in order."""
        with translated(doing):
            return list(ray.get(list(references), timeout=timeout_s))

    def first_ready(self, references: Sequence[Any], timeout_s: float) -> list[Any]:
        """Which of the calls have come back; waits for the first."""
        with translated("waiting for reports"):
            ready, _ = ray.wait(list(references), num_returns=1, timeout=timeout_s)
            return list(ready)
