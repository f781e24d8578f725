"""llama.cpp's architectures, grouped by what their layers are: each a function that writes a GGUF file's keys back as a config's fields."""
