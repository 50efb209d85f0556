"""Commands beside a run: check-data, export, speed."""
