"""Training of the classifiers: one loop for every head, and the stored classifier of each cell."""
