"""All methods that fit a user's task, trained alike, and the one to take."""
