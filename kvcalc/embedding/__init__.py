"""One table per file, beside the token embedding. The file name is the key in the spec's `embedding`."""
