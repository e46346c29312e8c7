"""A model card for what a run learnt, and its upload to the hub."""
