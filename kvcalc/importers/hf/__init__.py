"""One family of config.json per file: `TYPES`, the model types that it reads, and `read`, which says what the fields mean."""
