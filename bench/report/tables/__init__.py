"""The main tables of a run, and how tables are written."""
