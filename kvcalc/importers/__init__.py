"""What a model ships (config.json, safetensors, GGUF) to a spec. One file per source; refuses what it does not know, and names the field."""
