"""A policy file: the policy of everyone, what tenants have otherwise, and lists of known pictures.

A tenant is whoever a key belongs to. What its part of the file does not name is everyone's: rules
and concepts are replaced one by one, own concepts by name, lists are added, so that no tenant can
allow what everyone's list blocks. The version that an answer carries is that of the policy that was
applied to it, list contents included.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, field_serializer, model_validator

from server.concepts.actions import Rule
from server.concepts.calibration import FastPathCalibration
from server.concepts.data_file import VERSION_HASH_CHARS, FrozenRecord, read_data_file
from server.concepts.fast_path import FastPathUse, SureBounds
from server.concepts.hash_lists import HashLists
from server.concepts.hint_rules import ChatRules, HintRules
from server.concepts.own_concepts import ListMatch
from server.concepts.policy import (
    AuditFailure,
    ConceptRules,
    OwnConcepts,
    Policy,
    Unavailable,
    Undetermined,
    default_policy,
    only_categories,
)

_SOURCE = "policy"

TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class TenantRules(FrozenRecord):
    """What is otherwise for one tenant; null and what is left out is as for everyone."""

    rules: Annotated[Mapping[str, Rule], AfterValidator(only_categories)] = Field(
        default_factory=lambda: MappingProxyType({})
    )
    concepts: ConceptRules = Field(default_factory=lambda: MappingProxyType({}))
    own_concepts: OwnConcepts = ()
    lists: HashLists = HashLists()
    undetermined: Undetermined | None = None
    unavailable: Unavailable | None = None
    audit_failure: AuditFailure | None = None
    hints: HintRules | None = None
    chat: ChatRules | None = None

    @field_serializer("rules", "concepts")
    def _as_plain_dict(self, rules: Mapping[str, Rule]) -> dict[str, Rule]:
        return dict(rules)

    def over(self, base: Policy) -> Policy:
        """The tenant's whole policy; raises `ValidationError` for too many own concepts."""
        replaced = {concept.name for concept in self.own_concepts}
        changes: dict[str, Any] = {
            name: value
            for name in ("undetermined", "unavailable", "audit_failure", "hints", "chat")
            if (value := getattr(self, name)) is not None
        }
        kept = tuple(one for one in base.own_concepts if one.name not in replaced)
        return Policy.model_validate(
            _fields(base)
            | changes
            | {
                "rules": {**base.rules, **self.rules},
                "concepts": {**base.concepts, **self.concepts},
                "own_concepts": (*kept, *self.own_concepts),
            }
        )


class PolicyDocument(Policy):
    """A policy file as it is written."""

    lists: HashLists = HashLists()
    tenants: Mapping[TenantName, TenantRules] = Field(default_factory=dict)

    @field_serializer("tenants")
    def _tenants_as_dict(self, tenants: Mapping[str, TenantRules]) -> dict[str, TenantRules]:
        return dict(tenants)

    @model_validator(mode="after")
    def _tenants_have_sound_policies(self) -> Self:
        for name, tenant in self.tenants.items():
            try:
                tenant.over(self)
            except ValidationError as error:
                raise ValueError(f"tenant {name}: {error.errors()[0]['msg']}") from error
        return self


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """The whole policy of one tenant; `version` names it with the contents of its lists."""

    tenant: str
    policy: Policy
    version: str
    allowed: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()

    @property
    def has_lists(self) -> bool:
        """Whether there is any need to know a picture's fingerprint."""
        return bool(self.allowed or self.blocked)

    def listed(self, fingerprint: str) -> ListMatch | None:
        """The list that a picture is on; of both, the block-list."""
        if fingerprint in self.blocked:
            return ListMatch("block", _SOURCE)
        return ListMatch("allow", _SOURCE) if fingerprint in self.allowed else None


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """All policies of one file. `files` are all files that it was made of."""

    default: TenantPolicy
    tenants: Mapping[str, TenantPolicy]
    files: tuple[Path, ...] = ()

    def of(self, tenant: str) -> TenantPolicy:
        """The tenant's policy; everyone's for a tenant that the file does not name."""
        found = self.tenants.get(tenant)
        return self.default if found is None else found

    @property
    def every(self) -> tuple[TenantPolicy, ...]:
        """The policy of everyone, then the tenants'."""
        return (self.default, *self.tenants.values())

    @property
    def fast_path(self) -> FastPathUse:
        """For what a safety head alone may speak: one answer for all tenants."""
        return self.default.policy.fast_path

    def sure_bounds(self, fitted: FastPathCalibration) -> SureBounds | None:
        """Where a safety head is sure enough under every tenant's policy; None: nowhere."""
        every = [one.policy.sure_bounds(fitted) for one in self.every]
        bounds = [found for found in every if found is not None]
        if len(bounds) < len(every):
            return None
        lower = [one.allow_below for one in bounds]
        upper = [one.block_above for one in bounds]
        allow_below = None if None in lower else min(b for b in lower if b is not None)
        block_above = None if None in upper else max(b for b in upper if b is not None)
        if allow_below is None and block_above is None:
            return None
        return SureBounds(allow_below, block_above)


def _fields(policy: Policy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in Policy.model_fields}


def _tenant_policy(
    tenant: str, policy: Policy, lists: tuple[HashLists, ...], folder: Path
) -> TenantPolicy:
    allowed = frozenset().union(*(one.allowed(folder) for one in lists))
    blocked = frozenset().union(*(one.blocked(folder) for one in lists))
    version = policy.version
    if allowed or blocked:
        digest = hashlib.sha256(version.encode())
        for label, hashes in (("allow", allowed), ("block", blocked)):
            digest.update(f"\n{label}:".encode() + ",".join(sorted(hashes)).encode())
        version = f"{policy.revision}-{digest.hexdigest()[:VERSION_HASH_CHARS]}"
    return TenantPolicy(tenant, policy, version, allowed, blocked)


DEFAULT_TENANT = "default"


def book_of(document: PolicyDocument, path: Path) -> PolicyBook:
    """The policies of a file at `path`; raises `DataFileError` for a list that can't be used."""
    folder = path.parent
    base = Policy.model_validate(_fields(document))
    return PolicyBook(
        default=_tenant_policy(DEFAULT_TENANT, base, (document.lists,), folder),
        tenants=MappingProxyType(
            {
                name: _tenant_policy(name, rules.over(base), (document.lists, rules.lists), folder)
                for name, rules in document.tenants.items()
            }
        ),
        files=(
            path,
            *(
                file
                for lists in (document.lists, *(one.lists for one in document.tenants.values()))
                for file in lists.files(folder)
            ),
        ),
    )


@cache
def default_book() -> PolicyBook:
    """The shipped policy for everyone."""
    policy = default_policy()
    return PolicyBook(TenantPolicy(DEFAULT_TENANT, policy, policy.version), MappingProxyType({}))


def load_policy_book(path: Path | None = None) -> PolicyBook:
    """The shipped policy, or those of a user's file, YAML or JSON; raises `DataFileError`."""
    if path is None:
        return default_book()
    return book_of(read_data_file(path, PolicyDocument), path)


def load_policy(path: Path | None = None) -> Policy:
    """Everyone's policy alone; as `load_policy_book`."""
    return load_policy_book(path).default.policy
