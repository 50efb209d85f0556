"""Intervals, comparisons and agreement on plain arrays and frames, without torch so that the report starts fast."""
