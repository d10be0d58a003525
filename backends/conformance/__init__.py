"""Suites that every implementation of a port passes, for those of dualtrack and for those of others."""
