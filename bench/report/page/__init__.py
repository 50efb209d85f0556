"""Page of a run: one file that shows the answer, and lets readers sort, filter and inspect what it is based on."""
