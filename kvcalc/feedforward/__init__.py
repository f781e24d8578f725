"""One feed-forward kind per file. Adding a file adds a kind."""
