"""A table or a figure is a grid of runs (Sections 5.2 and 6)."""
