"""How two languages stand to each other in a model: measured, put in words, and kept."""
