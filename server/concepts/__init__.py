"""What is unsafe and how to ask: taxonomy, probes, verdict, policy."""
