"""The causal language model, and the only code that reaches inside it."""
