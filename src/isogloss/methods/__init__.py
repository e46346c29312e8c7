"""How knowledge is transferred: a method is a value."""
