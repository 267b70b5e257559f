"""Engines: what runs a VLM behind one small protocol."""
