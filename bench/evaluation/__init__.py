"""Explains images with a trained classifier and scores the maps."""
