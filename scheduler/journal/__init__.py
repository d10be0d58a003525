"""What survives: the history of events, durable before anything acts on it, and the state folded from it again."""
