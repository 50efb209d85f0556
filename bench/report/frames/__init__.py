"""A run as data frames."""
