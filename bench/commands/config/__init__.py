"""The command ``config``: a config with all its values, and the reference page of all keys."""
