"""What an evaluation found: scores, figures, comparisons, and how good the predictions are."""
