"""Results in the files of a run, read when they are asked for."""
