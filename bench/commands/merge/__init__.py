"""The command ``merge``: runs of several people or machines become one run with one report."""
