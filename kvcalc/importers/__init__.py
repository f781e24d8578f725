"""What a model ships (config.json, safetensors, GGUF) to a spec: one file per source. What it does not know it refuses by name."""
