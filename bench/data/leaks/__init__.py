"""Leaks between splits: copies of a picture that names and bytes do not reveal."""
