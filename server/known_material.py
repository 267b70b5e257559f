"""Where matching of known illegal material is plugged in.

The models that are served here are no detectors for such material: nothing lawful to train on shows
it, and what they say about a picture of it means nothing. It is found by matching against the hash
sets of the organisations that keep them, with perceptual hashes that survive changes (PhotoDNA, PDQ
and the like), under their terms. Whoever has access to such a set writes a `KnownMaterialMatcher`
around it and names its maker in ``SIGHTWARD_KNOWN_MATERIAL``. What it finds is blocked before
any model is asked, is never kept, and outweighs every allow-list; reporting is the matcher's own or
its owner's duty, for which the audit log names each match. A matcher that fails judges nothing: its
inputs are treated as when the model can't be asked.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from PIL import Image

from server.concepts.own_concepts import ListMatch
from server.errors import MatcherUnavailableError, SettingsError


class KnownMaterialMatcher(Protocol):
    """Tells whether a picture is known; called for every picture, many at once."""

    @property
    def name(self) -> str:
        """Names the hash set and its version, for answers and the audit log."""
        ...

    async def matches(self, image: Image.Image, fingerprint: str) -> bool:
        """Whether an upright, opaque RGB picture is known; may raise anything when it can't tell.

        `fingerprint` is the SHA-256 of its pixels. Slow work belongs into a thread.
        """
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


MatcherMaker = Callable[[], KnownMaterialMatcher]


def matcher_maker(named: str) -> MatcherMaker:
    """The maker that ``package.module:function`` names; raises `SettingsError`."""
    module_name, _, attribute = named.partition(":")
    try:
        made_by = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            (f"SIGHTWARD_KNOWN_MATERIAL: {named!r} can't be imported: {error}",)
        ) from error
    if not callable(made_by):
        raise SettingsError((f"SIGHTWARD_KNOWN_MATERIAL: {named!r} is no function",))
    maker: MatcherMaker = made_by
    return maker


async def known(
    matchers: Sequence[KnownMaterialMatcher], image: Image.Image, fingerprint: str
) -> ListMatch | None:
    """The first matcher that knows the picture; raises `MatcherUnavailableError`."""
    for matcher in matchers:
        try:
            is_known = await matcher.matches(image, fingerprint)
        except Exception as error:
            # Whatever it was, the picture was not held against the set: it must not pass.
            structlog.get_logger("server").error("matcher failed", matcher=matcher.name)
            raise MatcherUnavailableError(matcher.name) from error
        if is_known:
            return ListMatch("block", matcher.name)
    return None
