"""From a second model to the default and back, while callers go on calling."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx2
import pytest

from server.engine.protocol import Answer, Question
from server.engine.stub import StubEngine

Connect = Callable[..., object]


class Unhurried(StubEngine):
    """Gives others their turn before each answer, so that calls overlap with changes."""

    def __init__(self, like: StubEngine) -> None:
        super().__init__(like.answers, card=like.card)

    async def ask(self, question: Question) -> Answer:
        for _ in range(20):
            await asyncio.sleep(0)
        return await super().ask(question)


class Load:
    """Callers that ask one thing after another until they are told to stop."""

    def __init__(self, models, callers: int = 8) -> None:
        self._models = models
        self._is_over = False
        self.answers: list[tuple[str, httpx2.Response]] = []
        self._callers = [asyncio.create_task(self._call(n)) for n in range(callers)]

    async def _call(self, caller: int) -> None:
        number = 0
        while not self._is_over:
            text = f"caller {caller} says {number % 50}"
            self.answers.append((text, await self._models.ask(text)))
            number += 1

    async def more(self, count: int) -> list[tuple[str, str]]:
        """So many further answers, with the model of each; all have to be good."""
        before = len(self.answers)
        while len(self.answers) < before + count:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return [self._seen(*one) for one in self.answers[before:]]

    async def end(self) -> list[tuple[str, str]]:
        self._is_over = True
        await asyncio.gather(*self._callers)
        return [self._seen(*one) for one in self.answers]

    @staticmethod
    def _seen(text: str, response: httpx2.Response) -> tuple[str, str]:
        assert response.status_code == 200, response.text
        version = response.json()["results"][0]["sightward"]["model_version"]
        return text, version.partition("@")[0]


async def test_no_request_is_lost_from_loading_to_rolling_back(rollout, make_stub) -> None:
    old, new = Unhurried(make_stub("old")), Unhurried(make_stub("new", p_unsafe=0.9))
    async with rollout(old, {"reference:sft": new}, keep_previous=True) as models:
        load = Load(models)
        assert {judge for _, judge in await load.more(40)} == {"old"}
        await models.load("reference:sft", "sft")
        assert {judge for _, judge in await load.more(40)} == {"old"}

        await models.admin("PUT", "/sft/role", role="canary", percent=20)
        await load.more(20)  # those that had begun
        mixed = await load.more(400)
        judges: dict[str, set[str]] = {}
        for text, judge in mixed:
            judges.setdefault(text, set()).add(judge)
        assert all(len(seen) == 1 for seen in judges.values()), "the same content, the same model"
        shares = Counter(judge for _, judge in mixed)
        assert 0.05 < shares["new"] / shares.total() < 0.4

        await models.admin("PUT", "/sft/role", role="shadow")
        await load.more(20)
        assert {judge for _, judge in await load.more(40)} == {"old"}

        assert (await models.admin("POST", "/sft/promote")).status_code == 200
        await load.more(20)
        assert {judge for _, judge in await load.more(40)} == {"new"}

        answer = await models.client.post("/v1/admin/rollback", headers=models.by_admin)
        assert (answer.status_code, answer.json()["role"]) == (200, "default")
        await load.more(20)
        assert {judge for _, judge in await load.more(40)} == {"old"}

        assert (await models.admin("DELETE", "/sft")).status_code == 202
        await load.end()
        await models.services.models.settled()
        assert not new.is_started
        assert [one["name"] for one in (await models.admin("GET")).json()["data"]] == [
            "reference-ppo"
        ]


async def test_a_model_that_is_unloaded_ends_what_it_has_begun(rollout, make_stub) -> None:
    may_answer, was_asked = asyncio.Event(), asyncio.Event()

    class Slow(StubEngine):
        async def ask(self, question: Question) -> Answer:
            if "slow" in question.text:
                was_asked.set()
                await may_answer.wait()
            return await super().ask(question)

    old, new = Slow(make_stub("old").answers, card=make_stub("old").card), make_stub("new")
    async with rollout(old, {"reference:sft": new}, keep_previous=False) as models:
        slow = asyncio.create_task(models.judge_of("a slow one"))
        await was_asked.wait()
        await models.load("reference:sft", "sft")
        await models.admin("POST", "/sft/promote")
        assert await models.judge_of("a quick one") == "new"
        state = (await models.admin("GET", "/reference-ppo")).json()["state"]
        assert (state, old.is_started) == ("retiring", True)
        may_answer.set()
        assert await slow == "old"
        await models.services.models.settled()
        assert not old.is_started
        assert (await models.admin("GET", "/reference-ppo")).status_code == 404


@pytest.mark.parametrize("has_previous", [True, False])
async def test_a_default_that_fails_for_good_gives_way_to_the_one_before(
    rollout, make_stub, has_previous: bool
) -> None:
    old, new = make_stub("old"), make_stub("new")
    async with rollout(old, {"reference:sft": new}, engine_max_failures=0) as models:
        await models.load("reference:sft", "sft")
        await models.admin("POST", "/sft/promote")
        if not has_previous:
            await models.admin("DELETE", "/reference-ppo")
            await models.services.models.settled()
        new.die("broken for good")
        sft = models.services.models.named("sft")
        async with asyncio.timeout(60):
            while sft.state != "failed":  # noqa: ASYNC110
                await asyncio.sleep(0)
        if has_previous:
            assert await models.judge_of("a boat") == "old"
            assert models.metric("sightward_default_switches_total", how="failure") == 1.0
        else:
            assert (await models.ask("a boat")).status_code == 503
