"""The shell around the engine: the daemon, its wiring, the API, identity and metrics."""
