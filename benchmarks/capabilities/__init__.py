"""What a VLM perceives, how it judges, and the gap between pictures and words (after S1)."""
