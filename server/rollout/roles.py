"""What each hosted model is for, and which content goes where: values and pure functions.

One model is the default. A canary answers a share of the contents in its place; a shadow is asked
about a share of what the default answers and never heard; any other stands by. Which content that
is depends on the content alone: the same picture goes to the same model on every call and every
replica, and a larger share holds all that the smaller one held.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

BUCKETS = 10_000
"""A hundredth of a percent is the finest share."""


class Role(StrEnum):
    """What a hosted model is for."""

    DEFAULT = "default"
    CANARY = "canary"
    SHADOW = "shadow"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True)
class Share:
    """A model that is given a share of the contents, in percent from 0 to 100."""

    name: str
    percent: float

    def takes(self, fingerprint: str, purpose: str) -> bool:
        """Whether this content is in the share; each `purpose` and model draws its own."""
        return is_in_share(fingerprint, self.percent, salt=f"{purpose}:{self.name}")


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is what; `previous` was the default before, which a roll back returns to."""

    default: str
    canary: Share | None = None
    shadow: Share | None = None
    previous: str | None = None

    def role_of(self, name: str) -> Role:
        """What the model of that name is for."""
        if name == self.default:
            return Role.DEFAULT
        if self.canary is not None and self.canary.name == name:
            return Role.CANARY
        if self.shadow is not None and self.shadow.name == name:
            return Role.SHADOW
        return Role.STANDBY

    def percent_of(self, name: str) -> float | None:
        """The share of a canary or shadow; None for any other."""
        shares = (self.canary, self.shadow)
        return next((one.percent for one in shares if one is not None and one.name == name), None)

    def with_share(self, role: Role, share: Share) -> "Roles":
        """`share` as the canary or the shadow, instead of any other; a model is only one."""
        bare = self.standing_by(share.name)
        is_canary = role is Role.CANARY
        return replace(bare, canary=share) if is_canary else replace(bare, shadow=share)

    def standing_by(self, name: str) -> "Roles":
        """The model of that name as neither canary nor shadow."""
        return replace(
            self,
            canary=None if self.canary is not None and self.canary.name == name else self.canary,
            shadow=None if self.shadow is not None and self.shadow.name == name else self.shadow,
        )

    def promoted(self, name: str) -> "Roles":
        """The model of that name as the default, and the default as what it was before."""
        if name == self.default:
            return self
        return replace(self.standing_by(name), default=name, previous=self.default)

    def without(self, name: str) -> "Roles":
        """No place for the model of that name, which is not the default."""
        previous = None if self.previous == name else self.previous
        return replace(self.standing_by(name), previous=previous)


def bucket(fingerprint: str, *, salt: str) -> int:
    """Which of `BUCKETS` a content falls in; evenly, and independently for each salt."""
    digest = hashlib.sha256(f"{salt}\n{fingerprint}".encode()).digest()
    return int.from_bytes(digest[:8]) % BUCKETS


def is_in_share(fingerprint: str, percent: float, *, salt: str) -> bool:
    """Whether a content belongs to the first `percent` of all."""
    return bucket(fingerprint, salt=salt) < round(percent * BUCKETS / 100)
