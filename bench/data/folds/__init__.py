"""Cross-validation: all images of a data set in one pool, divided into folds."""
