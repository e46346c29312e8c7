"""Which solved examples go into the context (Section 5.2)."""
