"""The command line: commands and flags, ``list``, plugin loading."""
