"""The audit log: every verdict on record, the queue of those to review, and what people decided."""
