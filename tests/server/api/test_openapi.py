"""What the API says of itself is so: requests made from its document, and the document itself."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

import httpx2
import pytest

KEY = "a key for everything"
HASHED = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}:moderate+admin+metrics"
EVERY_LIMIT_HIGH = dict.fromkeys(
    ("max_images", "max_inputs", "max_chat_images", "max_answer_tokens"), 2**31
)


@pytest.mark.timeout(300)
def test_every_check_of_schemathesis_holds(
    serve: Callable[..., AbstractContextManager[str]], tmp_path: Path
) -> None:
    with serve(
        api_keys=(HASHED,),
        metrics_need_key=True,
        audit_log=str(tmp_path / "log"),
        batches_dir=tmp_path / "batches",
        **EVERY_LIMIT_HIGH,
    ) as base_url:
        for words in ("one", "two", "three"):  # something to review
            httpx2.post(
                f"{base_url}/moderations",
                json={"input": f"{words} mumble"},
                headers={"authorization": f"Bearer {KEY}"},
            ).raise_for_status()
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                base_url.removesuffix("/v1") + "/openapi.json",
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
                *("--max-examples", "15", "--seed", "1", "--continue-on-failure", "--no-color"),
                *("--generation-database", "none"),
                # Of paths with patterns many are drawn in vain.
                *("--suppress-health-check", "filter_too_much"),
            ],
            cwd=tmp_path,
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    assert "generated" in ended.stdout


async def test_what_needs_a_key_says_so(
    connect: Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]],
) -> None:
    async with connect(api_keys=(HASHED,)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]

    assert paths["/v1/moderations"]["post"]["security"] == [{"key": []}]
    assert paths["/v1/reviews"]["get"]["security"] == [{"key": []}]
    assert "security" not in paths["/livez"]["get"]
    assert "security" not in paths["/metrics"]["get"]


async def test_without_keys_only_administrators_need_one(client: httpx2.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert paths["/v1/moderations"]["post"]["security"] == [{}, {"key": []}]
    assert paths["/v1/reviews"]["get"]["security"] == [{"key": []}]


async def test_the_frameworks_own_refusal_is_nowhere(client: httpx2.AsyncClient) -> None:
    text = (await client.get("/openapi.json")).text

    assert "HTTPValidationError" not in text
    assert "422" in text  # ours stays
