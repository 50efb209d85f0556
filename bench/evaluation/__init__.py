"""Evaluation of explainers: explains images with a trained classifier and scores the maps."""
