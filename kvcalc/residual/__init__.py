"""One residual kind per file: what carries the stream from layer to layer, norms included."""
