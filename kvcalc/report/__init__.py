"""From numbers to something a person or a program reads: neutral tables, plain writers, the terminal."""
