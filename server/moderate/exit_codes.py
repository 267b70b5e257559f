"""What ``sightward moderate`` says by its exit code, for scripts and CI to act on."""

from typing import Literal

FailOn = Literal["block", "review", "never"]
"""From which of the policy's actions on a finding makes the command fail."""

EXIT_FOUND = 1
EXIT_UNUSABLE = 2
EXIT_NOT_JUDGED = 3
STOPPED_BY_SIGNAL = 128
"""Plus the signal's number, as a shell has it."""
