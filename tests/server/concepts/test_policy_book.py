import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.concepts.actions import Action
from server.concepts.calibration import FastPathCalibration
from server.concepts.fast_path import SureBounds
from server.concepts.own_concepts import Findings, ListMatch
from server.concepts.policy import POLICY_FILE, default_policy
from server.concepts.policy_book import PolicyBook, TenantPolicy, load_policy_book
from server.concepts.verdict import UNREAD, Outcome, Verdict
from server.errors import DataFileError
from server.policy_command import schema_text

A, B, C = "a" * 64, "b" * 64, "c" * 64


def content(**changes: Any) -> dict[str, Any]:
    shipped: dict[str, Any] = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    return shipped | changes


def book(folder: Path, **changes: Any) -> PolicyBook:
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(content(**changes)), encoding="utf-8")
    return load_policy_book(path)


def verdict(p: float, categories: dict[str, float], concepts: dict[str, float]) -> Verdict:
    outcome = Outcome.UNSAFE if p >= 0.5 else Outcome.SAFE
    return Verdict(outcome, p, 1.0, categories=categories, concepts=concepts)


def test_yaml_and_json_of_one_content_are_one_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content(fast_path="off")), encoding="utf-8")

    assert load_policy_book(path).default == book(tmp_path, fast_path="off").default
    assert book(tmp_path).default.version == default_policy().version


@pytest.mark.parametrize(
    ("rule", "concept_score", "action"),
    [
        # more lenient than its category, whose 0.5 would block
        ({"block_at": 0.95, "review_at": 0.9}, 0.8, Action.ALLOW),
        ({"block_at": 0.95, "review_at": 0.7}, 0.8, Action.REVIEW),
        # stricter than its category, of whose score it carries an eighth
        ({"block_at": 0.1, "review_at": 0.1}, 0.1, Action.BLOCK),
    ],
)
def test_a_concepts_rule_takes_the_place_of_its_categorys(
    tmp_path: Path, rule: dict[str, float], concept_score: float, action: Action
) -> None:
    policy = book(tmp_path, concepts={"Arson": rule}).default.policy
    other = 0.8 if concept_score < 0.8 else 0.0
    # What carries the rest is harmless under the category's own rule only below 0.3.
    found = verdict(
        0.8,
        {"Illegal activity": 0.8 if action is not Action.BLOCK else 0.29},
        {"Arson": concept_score, "Robbery": other},
    )

    decision = policy.decide(found)
    assert decision.action is action
    assert decision.flagged_categories == (("Illegal activity",) if decision.flagged else ())


def test_another_concept_of_the_category_is_not_excused_with_it(tmp_path: Path) -> None:
    policy = book(tmp_path, concepts={"Arson": {"block_at": 1.0, "review_at": 1.0}}).default.policy
    scores = {"Arson": 0.9, "Robbery": 0.6}

    assert policy.decide(verdict(0.9, {"Illegal activity": 0.9}, scores)).action is Action.BLOCK
    assert (
        policy.decide(verdict(0.9, {"Illegal activity": 0.9}, {"Arson": 0.9})).action
        is Action.ALLOW
    )


def test_without_concepts_the_strictest_of_their_rules_counts(tmp_path: Path) -> None:
    lenient = book(tmp_path, concepts={"Arson": {"block_at": 1.0, "review_at": 1.0}})
    strict = book(tmp_path, concepts={"Arson": {"block_at": 0.2, "review_at": 0.1}})
    found = verdict(0.25, {"Illegal activity": 0.25}, {})

    assert lenient.default.policy.decide(found).action is Action.ALLOW
    assert strict.default.policy.decide(found).action is Action.BLOCK


OWN = {"name": "Logo", "description": "a logo", "block_at": 0.9, "review_at": 0.5}
SAFE = Verdict(Outcome.SAFE, 0.01, 1.0, categories={"Hate": 0.01})


@pytest.mark.parametrize(
    ("score", "action"),
    [(0.4, Action.ALLOW), (0.6, Action.REVIEW), (0.95, Action.BLOCK), (None, Action.REVIEW)],
)
def test_an_own_concept_has_thresholds_of_its_own_and_no_answer_is_never_allowed(
    tmp_path: Path, score: float | None, action: Action
) -> None:
    policy = book(tmp_path, own_concepts=[OWN]).default.policy

    decision = policy.decide(SAFE, Findings({"Logo": score}))
    assert decision.action is action
    assert decision.flagged_unclassified == decision.flagged


def test_an_own_concept_that_was_not_asked_about_is_not_allowed(tmp_path: Path) -> None:
    policy = book(tmp_path, own_concepts=[OWN], undetermined="block").default.policy

    assert policy.decide(SAFE).action is Action.BLOCK
    assert policy.hint(SAFE) is None


@pytest.mark.parametrize("undetermined", ["review", "block", "error"])
def test_what_cant_be_judged_is_never_allowed(tmp_path: Path, undetermined: str) -> None:
    policy = book(tmp_path, undetermined=undetermined).default.policy

    assert policy.decide(UNREAD).action is not Action.ALLOW


def test_a_list_outweighs_every_score_for_actions_and_hints(tmp_path: Path) -> None:
    policy = default_policy()
    allowed = Findings(listed=ListMatch("allow", "policy"))
    blocked = Findings(listed=ListMatch("block", "policy"))
    unsafe = verdict(0.99, {"Hate": 0.99}, {})

    assert policy.decide(unsafe, allowed).action is Action.ALLOW
    assert policy.decide(SAFE, blocked).action is Action.BLOCK
    for findings, hint in ((allowed, "none"), (blocked, "must_refuse")):
        chosen = policy.hint(SAFE, findings)
        assert chosen is not None
        assert (chosen.hint.value, chosen.source) == (hint, "list")


def test_lists_come_from_the_file_and_from_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text(f"# known\n{B.upper()}  # a picture\n\n", encoding="utf-8")
    default = book(tmp_path, lists={"allow": [A], "block_files": ["more.txt"]}).default

    assert default.listed(A) == ListMatch("allow", "policy")
    assert default.listed(B) == ListMatch("block", "policy")
    assert default.listed(C) is None


def test_a_list_is_part_of_the_version(tmp_path: Path) -> None:
    listed = tmp_path / "more.txt"
    versions = set()
    for text in ("", A, B):
        listed.write_text(text, encoding="utf-8")
        versions.add(book(tmp_path, lists={"block_files": ["more.txt"]}).default.version)
    versions.add(book(tmp_path, lists={"allow": [A]}).default.version)

    assert len(versions) == 4


def test_a_tenant_differs_where_it_says_so_and_nowhere_else(tmp_path: Path) -> None:
    found = book(
        tmp_path,
        lists={"block": [A]},
        own_concepts=[OWN, {**OWN, "name": "Other"}],
        tenants={
            "shop": {
                "rules": {"Hate": {"block_at": 0.9, "review_at": 0.8}},
                "own_concepts": [{**OWN, "block_at": 1.0}],
                "lists": {"allow": [A, B]},
                "unavailable": "review",
            }
        },
    )
    shop, everyone = found.of("shop"), found.of("unheard-of")

    assert everyone is found.default
    assert shop.policy.rule("Hate").block_at == 0.9
    assert shop.policy.rule("Violence") == everyone.policy.rule("Violence")
    assert {one.name: one.block_at for one in shop.policy.own_concepts} == {
        "Logo": 1.0,
        "Other": 0.9,
    }
    assert (shop.policy.unavailable, everyone.policy.unavailable) == ("review", "error")
    assert shop.version != everyone.version
    # No tenant allows what is blocked for everyone.
    assert shop.listed(A) == ListMatch("block", "policy")
    assert shop.listed(B) == ListMatch("allow", "policy")
    assert everyone.listed(B) is None


def test_a_safety_head_is_sure_only_where_every_tenant_lets_it_be(tmp_path: Path) -> None:
    strict = {"rules": {"Hate": {"block_at": 1.0, "review_at": 0.1}}}
    found = book(tmp_path, fast_path="both", tenants={"strict": strict})
    fitted = FastPathCalibration(head="h", allow_below=0.2, block_above=0.9)

    bounds = found.sure_bounds(fitted)
    assert bounds is not None
    assert bounds.allow_below is not None
    assert bounds.allow_below < 0.1
    assert bounds == SureBounds(bounds.allow_below, 1.0)
    assert found.fast_path == "both"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"concepts": {"Litter": {"block_at": 1, "review_at": 1}}}, "not a concept: Litter"),
        ({"own_concepts": [{**OWN, "name": "Arson"}]}, "has this name already"),
        ({"own_concepts": [OWN, OWN]}, "named more than once: Logo"),
        ({"own_concepts": [{**OWN, "description": "{text}"}]}, "braces"),
        ({"lists": {"block": ["abc"]}}, "lists.block.0"),
        ({"lists": {"block_files": ["absent.txt"]}}, "absent.txt: can't be read"),
        ({"tenants": {"a b": {}}}, "tenants.a b"),
        ({"tenants": {"a": {"fast_path": "both"}}}, "tenants.a.fast_path"),
        ({"tenants": {"a": {"undetermined": "allow"}}}, "tenants.a.undetermined"),
        ({"unavailable": "allow"}, "unavailable"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataFileError, match=complaint):
        book(tmp_path, **changes)


def test_a_problem_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    text = yaml.safe_dump(content(), sort_keys=False)
    path.write_text(text.replace("block_at: 0.8", "block_at: 8", 1), encoding="utf-8")
    line = next(n for n, one in enumerate(path.read_text().splitlines(), 1) if "block_at: 8" in one)

    with pytest.raises(DataFileError) as caught:
        load_policy_book(path)
    (problem,) = caught.value.problems
    assert problem.startswith("rules.Deception.block_at: ")
    assert problem.endswith(f"(line {line})")


def test_a_hash_that_cant_be_read_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text(f"{A}\nnot a hash\n", encoding="utf-8")

    with pytest.raises(DataFileError, match=r"more\.txt: .*\(line 2\)"):
        book(tmp_path, lists={"allow_files": ["more.txt"]})


def test_the_shipped_schema_is_that_of_the_file() -> None:
    shipped = POLICY_FILE.with_name("policy.schema.json").read_text(encoding="utf-8")

    assert shipped == schema_text(), "run: sightward policy schema > " + "policy.schema.json"


def test_the_shipped_policy_fits_the_shipped_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(POLICY_FILE.with_name("policy.schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(content(tenants={"a": {"unavailable": "review"}}), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content(undetermined="allow"), schema)


def test_the_default_policy_has_no_lists() -> None:
    assert not load_policy_book().default.has_lists
    assert isinstance(load_policy_book().of("anyone"), TenantPolicy)
