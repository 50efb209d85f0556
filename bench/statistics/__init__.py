"""Intervals, comparisons and agreement on plain arrays and frames; no torch."""
