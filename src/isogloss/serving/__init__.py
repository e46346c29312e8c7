"""Serving: a finished run answers over HTTP; needs the extra `serve` but for its settings."""
