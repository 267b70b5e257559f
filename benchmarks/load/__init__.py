"""Load: clients that send, when they send, what they cost, and how much a service can take."""
