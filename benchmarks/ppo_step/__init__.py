"""How long a PPO step takes, and what it needs, beside the loop that most would write."""
