"""A synthetic world of languages in which alignment is a dial."""
