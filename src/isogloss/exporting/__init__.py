"""What a run learnt as a plain model folder, for servers that know nothing of Isogloss."""
