"""Checks of what a plugin states about itself, at the time of its registration."""
