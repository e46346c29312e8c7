"""A finished run compiled: soft prompt and demonstrations as one prefix of keys and values."""
