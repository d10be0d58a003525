"""Runs what the scheduler decides. Of the scheduler, only errors, model and ports are imported here."""
