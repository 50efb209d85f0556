"""Tables, figures and a page, derived from the store alone."""
