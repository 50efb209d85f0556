"""What a run has finished: the receipt by which the same command knows that nothing is left to do."""

#: File of the receipt, below the run folder.
RECEIPT = ".finished.json"
