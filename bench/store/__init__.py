"""The run folder: what a run remembers, and what it was computed from."""
