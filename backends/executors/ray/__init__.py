"""Runs the attempts of a cell on a Ray cluster. Ray is loaded in processes of its own, never in the scheduler."""

from backends.executors.ray.cluster import RayHandle, attach, find_head, start_head, stop_head
from backends.executors.ray.executor import RayExecutor

__all__ = ["RayExecutor", "RayHandle", "attach", "find_head", "start_head", "stop_head"]
