"""Developer tools that `make` runs; not part of the package."""
