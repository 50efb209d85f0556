"""Trains the classifier of a cell, once."""
