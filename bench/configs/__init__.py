"""Shipped configs, and the sections that a config has."""
