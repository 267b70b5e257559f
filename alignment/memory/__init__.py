"""How much memory a run will take, told before it starts and without any weights."""
