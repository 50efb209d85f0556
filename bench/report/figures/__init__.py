"""The main figures of a run, and the style of all."""
