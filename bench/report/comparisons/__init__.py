"""Comparisons between methods: verdicts, price, model or map, subgroups, critical difference."""
