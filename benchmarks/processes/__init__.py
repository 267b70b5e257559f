"""The processes that benchmarks start, wait for, ask and end."""
