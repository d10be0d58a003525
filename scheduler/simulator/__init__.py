"""The engine in virtual time: a world that answers its commands, faults, statistics, and the forecast."""
