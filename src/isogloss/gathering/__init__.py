"""Outcomes that can be compared, from the folders that a user names."""
