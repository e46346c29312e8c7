"""Tables and figures of the paper that are measured, not trained for."""
