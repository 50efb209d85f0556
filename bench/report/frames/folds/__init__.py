"""Cross-validation in the report: the folds of a cell are one cell."""
