"""Readers of measurements: public formats and the users' own, each to observations with file and line."""

from scheduler.config.readers.measurements import read_measurements
from scheduler.config.readers.readings import Readings, Told, accelerator_called

__all__ = ["Readings", "Told", "accelerator_called", "read_measurements"]
