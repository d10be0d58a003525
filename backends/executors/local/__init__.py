"""Runs attempts as processes of this machine; everything that matters is on disk, so any process may take over."""

from backends.executors.local.executor import LocalExecutor

__all__ = ["LocalExecutor"]
