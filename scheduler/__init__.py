"""dualtrack decides which job runs on which accelerators, when, and why.

The packages below are layers, lowest first: errors, model, ports, config, profiles, quota, policies, placement,
engine, journal, simulator, planning, service, cli. A package imports only from those named before it.
"""

__version__ = "0.1.0"
