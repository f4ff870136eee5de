"""One process filled to its descriptors, and as many as a machine's connections need."""
