"""Data sets with several labels per image: the findings that are present in it, each with a mask of its own."""
