"""Two models on one input: what is counted and put on record, and what it may never cost."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine
from server.record.entries import ComparisonEntry
from server.record.folder_store import FolderStore
from server.record.query import ModelQuery, VerdictQuery

MakeStub = Callable[..., StubEngine]
TEXTS = [f"text {number}" for number in range(60)]


def compared(log: Path, **query: object) -> list[ComparisonEntry]:
    store = FolderStore(log, max_file_bytes=1_000_000)
    found = list(store.about_models(ModelQuery(**query)))  # type: ignore[arg-type]
    return [entry for entry in found if isinstance(entry, ComparisonEntry)]


class Held(StubEngine):
    """Answers when it is let."""

    def __init__(self, like: StubEngine) -> None:
        super().__init__(like.answers, card=like.card)
        self.may_answer = asyncio.Event()
        self.waiting = 0

    async def ask(self, question: Question) -> Answer:
        self.waiting += 1
        await self.may_answer.wait()
        return await super().ask(question)


async def test_a_shadow_is_asked_and_never_answered_with(
    rollout, make_stub: MakeStub, tmp_path: Path
) -> None:
    new = make_stub("new", p_unsafe=0.9)
    async with rollout(None, {"reference:sft": new}, audit_log=str(tmp_path)) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="shadow", percent=100)
        for text in TEXTS[:3]:
            assert await models.judge_of(text) == "old"
            await models.compared()
        assert len(new.questions) == 3
        assert models.metric("sightward_model_comparisons_total", role="shadow") == 3
        labels = {"role": "shadow", "default_action": "allow", "action": "block"}
        assert models.metric("sightward_model_disagreements_total", **labels) == 3
        assert models.metric(
            "sightward_model_score_difference_sum", role="shadow"
        ) == pytest.approx(2.4)
        assert models.metric("sightward_model_inputs_total", role="default") == 3
        # Nobody was answered with its scores, so they are none of the served ones.
        assert models.metric("sightward_p_unsafe_count", modality="text") == 3
    entries = compared(tmp_path)
    assert [entry.disagrees for entry in entries] == [True] * 3
    assert all(entry.default.model_version.startswith("old@") for entry in entries)
    assert all(entry.other.model_version.startswith("new@") for entry in entries)
    assert entries[0].difference == pytest.approx(0.8)
    assert entries[0].fingerprint is None, "a short text can be guessed from its hash"
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    assert {entry.verdict_id for entry in entries} == {
        verdict.id for verdict in store.verdicts(VerdictQuery())
    }


async def test_a_canary_is_compared_with_the_default(
    rollout, make_stub: MakeStub, tmp_path: Path
) -> None:
    async with rollout(audit_log=str(tmp_path)) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="canary", percent=30)
        judges = []
        for text in TEXTS:
            judges.append(await models.judge_of(text))
            await models.compared()
        by_canary = judges.count("new")
        assert 0 < by_canary < len(TEXTS)
        assert models.metric("sightward_model_inputs_total", role="canary") == by_canary
        labels = {"role": "canary", "default_action": "allow", "action": "block"}
        assert models.metric("sightward_model_disagreements_total", **labels) == by_canary
    assert {entry.answered_by for entry in compared(tmp_path)} == {"canary"}
    assert all(entry.other.action == "block" for entry in compared(tmp_path, role="canary"))


async def test_a_content_is_compared_once(rollout) -> None:
    async with rollout(cache="memory") as models:
        await models.judge_of("known before there was a shadow")
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="shadow", percent=100)
        for _ in range(3):
            await models.judge_of("known before there was a shadow")
            await models.compared()
        assert models.metric("sightward_model_comparisons_total", role="shadow") == 1


async def test_a_slow_shadow_delays_no_answer_and_what_does_not_fit_is_dropped(
    rollout, make_stub: MakeStub
) -> None:
    new = Held(make_stub("new"))
    new.may_answer.set()
    async with rollout(None, {"reference:sft": new}, compare_at_once=2) as models:
        await models.load("reference:sft", "sft")
        new.may_answer.clear()
        await models.admin("PUT", "/sft/role", role="shadow", percent=100)
        async with asyncio.timeout(60):
            for text in TEXTS[:5]:
                assert await models.judge_of(text) == "old"
        skipped = "sightward_model_comparisons_skipped_total"
        assert models.metric(skipped, role="shadow", reason="busy") == 3
        models.app.state.drain.begin()
        await models.compared()
        assert new.questions == [], "what runs is given up when the server drains"


async def test_a_server_under_load_compares_nothing(rollout, make_stub: MakeStub) -> None:
    old = Held(make_stub("old"))
    old.may_answer.set()
    async with rollout(old, max_running_calls=4) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="shadow", percent=100)
        old.may_answer.clear()
        asking = [asyncio.create_task(models.judge_of(text)) for text in TEXTS[:4]]
        while old.waiting < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        old.may_answer.set()
        await asyncio.gather(*asking)
        await models.compared()
        skipped = "sightward_model_comparisons_skipped_total"
        assert models.metric(skipped, role="shadow", reason="busy") >= 1


async def test_a_shadow_that_fails_is_counted(rollout, make_stub: MakeStub) -> None:
    new = make_stub("new")
    async with rollout(None, {"reference:sft": new}) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="shadow", percent=100)
        new.is_healthy = False
        assert await models.judge_of("a boat") == "old"
        await models.compared()
        skipped = "sightward_model_comparisons_skipped_total"
        assert models.metric(skipped, role="shadow", reason="failed") == 1


@pytest.mark.parametrize(
    ("trouble", "reason"), [("dead", "unready"), ("sick", "failed"), ("slow", "timeout")]
)
async def test_what_a_canary_fails_on_is_the_defaults(
    rollout, make_stub: MakeStub, trouble: str, reason: str
) -> None:
    new = Held(make_stub("new"))
    new.may_answer.set()
    async with rollout(None, {"reference:sft": new}, canary_timeout_s=0.05) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="canary", percent=100)
        assert await models.judge_of("before") == "new"
        if trouble == "slow":
            new.may_answer.clear()
        elif trouble == "sick":
            new.is_healthy = False
        else:
            new.die()
            while models.services.models.named("sft").state != "restarting":  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert await models.judge_of("after") == "old"
        assert models.metric("sightward_canary_fallbacks_total", reason=reason) == 1


async def test_a_call_of_several_inputs_may_be_judged_by_two_models(rollout) -> None:
    async with rollout() as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="canary", percent=50)
        parts = [{"type": "text", "text": text} for text in TEXTS[:20]]
        answers = {}
        for per_input in (False, True):
            body = {"input": parts, "sightward": {"detail": True, "per_input": per_input}}
            answer = await models.client.post("/v1/moderations", json=body, headers=models.by_admin)
            answers[per_input] = [
                one["sightward"]["model_version"] for one in answer.json()["results"]
            ]
    each = answers[True]
    assert {version.partition("@")[0] for version in each} == {"old", "new"}
    assert answers[False] == [", ".join(sorted(set(each)))]
