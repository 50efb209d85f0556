"""The answer of a run: which explanation to use on each data set, how certain that is, and what it costs."""
