"""The endpoint beside what else one would build or take, on one machine, in turns: README.md."""
