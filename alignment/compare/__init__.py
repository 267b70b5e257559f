"""All methods from one base, with several seeds, in one table: after S1's comparison of trainings.

Each run is trained in a process of its own, merged into a checkpoint, and measured by the very
command that measures any VLM (``python -m benchmarks capabilities``), which this package starts and
never imports. Every figure comes from its record files.
"""
