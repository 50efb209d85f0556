"""What a run has finished: the receipt by which the same command knows that nothing is left to do."""
