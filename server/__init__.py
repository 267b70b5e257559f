"""The online service, and the ground that alignment and benchmarks stand on."""
