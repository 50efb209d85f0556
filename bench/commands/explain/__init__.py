"""The command ``explain``: all maps of one image by one trained classifier of a run."""
