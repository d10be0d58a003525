"""Readers of measurements: public formats and the users' own, each to observations with file and line."""
