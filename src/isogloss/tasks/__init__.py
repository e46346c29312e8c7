"""What is asked and what counts as right (Section 6.1)."""
