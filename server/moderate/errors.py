"""Why ``sightward moderate`` can't go on, each in one line for whoever started it."""

from server.errors import SightwardError


class ModerateError(SightwardError):
    """The command can't be carried out as it was given."""


class NoAnswerError(SightwardError):
    """Nothing can be judged any more: no model, or a server that does not answer."""
