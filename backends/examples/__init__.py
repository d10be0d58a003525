"""Real programs that the demo runs and that show a newcomer how a job looks: `python -m backends.examples.NAME`."""
