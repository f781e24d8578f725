"""One attention kind per file. Adding a file adds a kind."""
