"""Public traces as workloads and fleets: files of other projects become what the simulator replays."""
