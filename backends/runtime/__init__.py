"""What runs inside a job's own processes: the supervisor of each task, and the session that a script may join."""
