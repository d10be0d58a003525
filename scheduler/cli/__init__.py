"""The command `dualtrack`: a client of the service, and the planner and simulator without one."""
