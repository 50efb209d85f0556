"""The run folder: results of a run, and digests of what they were computed from."""
