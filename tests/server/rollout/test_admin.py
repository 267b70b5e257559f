"""What an administrator may do to the models, and what is refused with its reason."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from server.engine.stub import StubEngine
from server.errors import EngineStartError
from server.record.entries import RolloutEntry
from server.record.folder_store import FolderStore
from server.record.query import ModelQuery

MakeStub = Callable[..., StubEngine]


async def test_only_administrators_see_and_change_models(rollout) -> None:
    async with rollout() as models:
        caller = {"authorization": "Bearer caller's key"}
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("POST", "/sft/promote"),
            ("PUT", "/sft/role"),
            ("DELETE", "/sft"),
        ):
            answer = await models.client.request(method, f"/v1/admin/models{path}", headers=caller)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "missing_scope")
        answer = await models.client.post("/v1/admin/rollback", headers=caller)
        assert answer.status_code == 403


async def test_a_model_is_listed_from_its_order_to_its_end(rollout) -> None:
    async with rollout() as models:
        answer = await models.admin("POST", model="reference:sft")
        assert (answer.status_code, answer.json()["state"]) == (202, "loading")
        assert answer.json()["name"] == "reference-sft"
        await models.services.models.settled()
        default, loaded = (await models.admin("GET")).json()["data"]
        assert (default["role"], loaded["role"], loaded["state"]) == ("default", "standby", "ready")
        assert loaded["model_version"].startswith("new@")
        scrape = (await models.client.get("/metrics")).text
        assert 'name="reference-sft",role="standby",state="ready"' in scrape


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A folder with a model, an adapter and nothing, beside one that is nobody's to load."""
    for name in ("secret/config.json", "models/strict/config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "models" / "empty").mkdir()
    for name in ("lora", "huge"):
        (tmp_path / "models" / name).mkdir()
        (tmp_path / "models" / name / "adapter_config.json").write_text("{}")
    return tmp_path / "models"


@pytest.mark.parametrize(
    "model",
    [
        "/etc",
        "empty",
        "lora",
        "..",
        "../secret",
        "secret",
        "a/../../secret",
        "owner/hub-model",
        "",
        "\\etc",
        "~",
    ],
)
async def test_a_key_can_not_have_any_folder_loaded(rollout, models_dir: Path, model: str) -> None:
    async with rollout(models_dir=models_dir) as models:
        answer = await models.admin("POST", model=model)
    code = "invalid_field" if not model else "model_not_allowed"
    assert answer.json()["error"]["code"] == code
    assert str(models_dir.parent) not in answer.text


async def test_what_the_operator_allowed_is_loaded(
    rollout, make_stub: MakeStub, models_dir: Path
) -> None:
    further = {
        str(models_dir / "strict"): make_stub("strict"),
        "owner/hub-model": make_stub("hub"),
    }
    settings = {"models_dir": models_dir, "loadable_models": "owner/hub-model,other/one"}
    async with rollout(None, further, **settings) as models:
        for model, name in (("strict", "strict"), ("owner/hub-model", "hub-model")):
            answer = await models.admin("POST", model=model)
            assert (answer.status_code, answer.json()["name"]) == (202, name)
            await models.services.models.settled()
        ids = [one["id"] for one in (await models.admin("GET")).json()["data"]]
    assert ids == ["old", "strict", "hub"]


async def test_a_load_that_fails_changes_nothing_and_says_why(rollout, make_stub: MakeStub) -> None:
    broken = StubEngine(start_error="weights that do not belong to their code")
    async with rollout(None, {"reference:sft": broken}) as models:
        answer = await models.admin("POST", model="reference:dpo")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_unfit")
        assert "not enough memory" in answer.json()["error"]["message"]
        await models.admin("POST", model="reference:sft", name="sft")
        await models.services.models.settled()
        shown = (await models.admin("GET", "/sft")).json()
        assert (shown["state"], shown["failure"]) == (
            "failed",
            "weights that do not belong to their code",
        )
        assert (await models.admin("POST", "/sft/promote")).status_code == 409
        assert await models.judge_of("a boat") == "old"
        models.further["reference:sft"] = make_stub("new")
        await models.load("reference:sft", "sft")
        assert (await models.admin("POST", "/sft/promote")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("POST", "", {"model": "reference:sft", "name": "sft"}, "a model called sft is ready"),
        ("POST", "", {"model": "reference:dpo"}, "2 models are loaded"),
        ("POST", "", {"model": "reference:dpo", "name": "reference-ppo"}, "reference-ppo is ready"),
        ("POST", "/reference-ppo/promote", {}, "is the default already"),
        ("PUT", "/reference-ppo/role", {"role": "standby"}, "by promoting"),
        ("DELETE", "/reference-ppo", {}, "can't be unloaded"),
    ],
)
async def test_what_can_not_be_is_refused(
    rollout, method: str, path: str, body: dict[str, str], problem: str
) -> None:
    async with rollout(max_models=2) as models:
        await models.load("reference:sft", "sft")
        answer = await models.admin(method, path, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_conflict")
        assert problem in answer.json()["error"]["message"]
        missing = await models.client.post("/v1/admin/rollback", headers=models.by_admin)
        assert missing.status_code == 409
        assert (await models.admin("POST", "/nobody/promote")).status_code == 404


async def test_a_model_that_does_not_answer_now_is_not_promoted(
    rollout, make_stub: MakeStub
) -> None:
    new = make_stub("new")
    async with rollout(None, {"reference:sft": new}) as models:
        await models.load("reference:sft", "sft")
        new.is_healthy = False
        answer = await models.admin("POST", "/sft/promote")
        assert "does not answer" in answer.json()["error"]["message"]
        assert await models.judge_of("a boat") == "old"


async def test_ready_is_the_defaults_answer_and_changes_with_it(
    rollout, make_stub: MakeStub
) -> None:
    old, new = make_stub("old"), make_stub("new")
    async with rollout(old, {"reference:sft": new}) as models:
        await models.load("reference:sft", "sft")
        old.is_healthy = False
        assert (await models.client.get("/readyz")).status_code == 503
        await models.admin("POST", "/sft/promote")
        assert (await models.client.get("/readyz")).status_code == 200


async def test_models_that_answer_are_listed_to_callers_and_others_not(rollout) -> None:
    async with rollout() as models:
        await models.load("reference:sft", "sft")

        async def listed() -> list[tuple[str, str, float | None]]:
            answer = await models.client.get("/v1/models", headers=models.by_admin)
            return [
                (one["id"], one["sightward"]["role"], one["sightward"]["percent"])
                for one in answer.json()["data"]
            ]

        assert await listed() == [("old", "default", None)]
        await models.admin("PUT", "/sft/role", role="shadow")
        assert await listed() == [("old", "default", None)]
        await models.admin("PUT", "/sft/role", role="canary", percent=20)
        assert await listed() == [("old", "default", None), ("new", "canary", 20.0)]


async def test_every_change_is_on_record_with_its_key(rollout, tmp_path: Path) -> None:
    async with rollout(audit_log=str(tmp_path)) as models:
        await models.load("reference:sft", "sft")
        await models.admin("PUT", "/sft/role", role="canary", percent=20)
        await models.admin("POST", "/sft/promote")
        await models.client.post("/v1/admin/rollback", headers=models.by_admin)
        await models.admin("DELETE", "/sft")
        await models.services.models.settled()
    store = FolderStore(tmp_path, max_file_bytes=1_000_000)
    changes = [
        one for one in store.about_models(ModelQuery("rollout")) if isinstance(one, RolloutEntry)
    ]
    assert [(one.change, one.default, one.canary_percent) for one in changes] == [
        ("load", "reference-ppo", None),
        ("role", "reference-ppo", 20.0),
        ("promote", "sft", None),
        ("roll_back", "reference-ppo", None),
        ("unload", "reference-ppo", None),
    ]
    assert {one.key_id for one in changes} == {"environment-1"}


async def test_what_the_settings_declare_is_loaded_after_the_default(rollout) -> None:
    async with rollout(canary_model="reference:sft", canary_percent=100) as models:
        assert await models.judge_of("a boat") == "new"
        shown = (await models.admin("GET", "/reference-sft")).json()
        assert (shown["role"], shown["percent"]) == ("canary", 100.0)


async def test_a_declared_model_that_can_not_be_loaded_leaves_the_default_alone(rollout) -> None:
    async with rollout(shadow_model="reference:dpo") as models:
        assert await models.judge_of("a boat") == "old"
        assert len((await models.admin("GET")).json()["data"]) == 1


class Adaptable(StubEngine):
    """Takes adapters beside its own, as vLLM does on a GPU."""

    def __init__(self, like: StubEngine, make_stub: MakeStub) -> None:
        super().__init__(like.answers, card=like.card)
        self._make_stub = make_stub
        self.guests: list[StubEngine] = []

    def adapted(self, adapter: Path, *, name: str) -> StubEngine:
        if name == "huge":
            raise EngineStartError("the adapter's rank is above 64")
        self.guests.append(self._make_stub(name))
        return self.guests[-1]


async def test_an_adapter_is_served_on_the_weights_that_are_loaded(
    rollout, make_stub: MakeStub, models_dir: Path
) -> None:
    old = Adaptable(make_stub("old"), make_stub)
    async with rollout(old, {}, models_dir=models_dir) as models:
        answer = await models.admin("POST", adapter="lora")
        assert (answer.status_code, answer.json()["on"]) == (202, "reference-ppo")
        await models.services.models.settled()
        refused = await models.admin("POST", adapter="huge")
        assert "rank is above 64" in refused.json()["error"]["message"]
        await models.admin("POST", "/lora/promote")
        assert await models.judge_of("a boat") == "lora"
        base = await models.admin("DELETE", "/reference-ppo")
        assert "lora is served on its weights" in base.json()["error"]["message"]
        await models.client.post("/v1/admin/rollback", headers=models.by_admin)
        await models.admin("DELETE", "/lora")
        await models.services.models.settled()
        assert not old.guests[-1].is_started
        assert old.is_started
        assert await models.judge_of("a boat") == "old"


async def test_an_engine_that_takes_no_adapter_says_to_merge_it(rollout, models_dir: Path) -> None:
    async with rollout(models_dir=models_dir) as models:
        answer = await models.admin("POST", adapter="lora")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_unfit")
    assert "merge the adapter" in answer.json()["error"]["message"]


async def test_loading_does_not_hold_up_who_asks(rollout, make_stub: MakeStub) -> None:
    class NeverStarts(StubEngine):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async with rollout(None, {"reference:sft": NeverStarts()}) as models:
        await models.admin("POST", model="reference:sft", name="sft")
        assert await models.judge_of("a boat") == "old"
        another = await models.admin("POST", model="reference:sft", name="more")
        assert "another model is being loaded" in another.json()["error"]["message"]
        assert (await models.admin("DELETE", "/sft")).status_code == 202
        await models.services.models.settled()
        assert (await models.admin("GET", "/sft")).status_code == 404
