"""Evaluation of a given, trained classifier by the machinery of a run: the user's own model, in a few lines."""
