"""Why transfer works: tensors in, numbers out, no training."""
