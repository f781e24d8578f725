"""One router per file: what chooses the experts of a token."""
