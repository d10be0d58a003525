"""How work is run: on Ray, by local processes, or by a script that only pretends."""
