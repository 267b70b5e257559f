import hashlib
import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from server.api.app import create_app
from server.api.key_command import keys as keys_command
from server.api.key_ring import LOOK_AGAIN_S, KeyRing
from server.api.keys import (
    ANYONE,
    KEY_PREFIX,
    KeyEntry,
    hash_of,
    key_from_environment,
    matching_key,
    new_key,
    read_key_file,
)
from server.engine.stub import StubEngine
from server.errors import DataFileError
from server.settings import Settings

Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
HEX = hashlib.sha256(b"a key").hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def entry(name: str, key: str = "", **more: object) -> dict[str, object]:
    return {"id": name, "sha256": hash_of(key or name), **more}


def write(path: Path, *entries: dict[str, object]) -> Path:
    """As an operator does it: a new file takes the old one's place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": entries}))
    os.replace(fresh, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_new_key_is_like_no_other_and_kept_by_its_hash_alone() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith(KEY_PREFIX)
        assert len(key) - len(KEY_PREFIX) >= 43
    assert hash_of("a key") == HEX


@pytest.mark.parametrize(
    ("given", "scopes", "tenant"),
    [
        ("a key", {"moderate"}, "default"),
        (f"sha256:{HEX}", {"moderate"}, "default"),
        (f"sha256:{HEX}:admin", {"admin"}, "default"),
        (f"sha256:{HEX}:moderate+metrics", {"moderate", "metrics"}, "default"),
        (f"sha256:{HEX}:moderate:shop", {"moderate"}, "shop"),
    ],
)
def test_the_environment_holds_keys_in_clear_or_hashed(
    given: str, scopes: set[str], tenant: str
) -> None:
    found = key_from_environment(given, 3)
    assert (found.id, found.sha256) == ("environment-3", HEX)
    assert (found.holder.scopes, found.holder.tenant) == (scopes, tenant)


@pytest.mark.parametrize(
    "given", ["sha256:abc", f"sha256:{HEX}:root", f"sha256:{HEX.upper()}", "sha256:x:y"]
)
def test_a_hash_of_another_form_is_refused_unseen(given: str) -> None:
    with pytest.raises(ValueError, match="entry 2 is not of the form") as failure:
        key_from_environment(given, 2)
    assert given not in str(failure.value)


def test_a_key_that_has_expired_is_none() -> None:
    past = KeyEntry.model_validate(entry("old", "key", expires_at="2001-01-01T00:00:00Z"))
    future = KeyEntry.model_validate(entry("new", "key", expires_at="2999-01-01T00:00:00+02:00"))
    assert matching_key("key", [past]) is None
    assert matching_key("key", [past, future]) == future


def test_every_key_is_compared_wherever_the_right_one_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []

    def compare(given: str, kept: str) -> bool:
        compared.append(kept)
        return given == kept

    monkeypatch.setattr("server.api.keys.hmac.compare_digest", compare)
    entries = [KeyEntry.model_validate(entry(name)) for name in "abcd"]
    for key in ("a", "d", "none"):
        compared.clear()
        matching_key(key, entries)
        assert compared == [one.sha256 for one in entries]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "the file"),
        ("[]", "the file"),
        ('{"keys": [{"id": "a"}]}', "keys.0.sha256"),
        ('{"keys": [{"id": "a b", "sha256": "HEX"}]}', "keys.0.id"),
        ('{"keys": [{"id": "a", "sha256": "hunter2"}]}', "keys.0.sha256"),
        ('{"keys": [{"id": "a", "sha256": "HEX", "scopes": ["root"]}]}', "keys.0.scopes"),
        ('{"keys": [{"id": "a", "sha256": "HEX", "scopes": []}]}', "keys.0.scopes"),
        ('{"keys": [{"id": "a", "sha256": "HEX", "key": "hunter2"}]}', "keys.0.key"),
        ('{"keys": [{"id": "a", "sha256": "HEX", "expires_at": "2030-01-01T00:00"}]}', "exp"),
    ],
)
def test_a_bad_file_is_refused_by_the_field_and_without_its_value(
    file: Path, content: str, named: str
) -> None:
    file.write_text(content.replace("HEX", HEX))
    with pytest.raises(DataFileError) as failure:
        read_key_file(file)
    assert named in str(failure.value)
    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize("second", [entry("a", "other"), entry("b", "a")])
def test_two_keys_of_one_name_or_one_hash_are_refused(
    file: Path, second: dict[str, object]
) -> None:
    write(file, entry("a"), second)
    with pytest.raises(DataFileError, match="two keys have the same"):
        read_key_file(file)


def test_without_keys_everyone_is_let_in_but_is_no_administrator() -> None:
    ring = KeyRing()
    assert ring.holder(None) == ring.holder("anything") == ANYONE
    assert "admin" not in ANYONE.scopes


def test_keys_change_while_the_server_runs(file: Path) -> None:
    clock = Clock()
    ring = KeyRing(file=write(file, entry("old")), clock_s=clock)
    assert ring.holder("old") is not None

    write(file, entry("old"), entry("new", tenant="shop"))
    assert ring.holder("new") is None  # not looked at yet
    clock.now_s += LOOK_AGAIN_S
    holder = ring.holder("new")
    assert holder is not None
    assert (holder.id, holder.tenant) == ("new", "shop")
    assert ring.holder("old") is not None

    write(file, entry("new"))
    clock.now_s += LOOK_AGAIN_S
    assert ring.holder("old") is None
    assert ring.holder("new") is not None


@pytest.mark.parametrize("how", ["broken", "gone"])
def test_a_file_that_can_no_longer_be_read_leaves_the_keys_and_says_so_once(
    file: Path, how: str
) -> None:
    clock = Clock()
    ring = KeyRing(file=write(file, entry("old")), clock_s=clock)
    if how == "broken":
        file.write_text('{"keys": [{"id": "a", "sha256": "hunter2"}]}')
    else:
        file.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            clock.now_s += LOOK_AGAIN_S
            assert ring.holder("old") is not None
            assert ring.holder("hunter2") is None
    (line,) = logs
    assert line["log_level"] == "error"
    assert "hunter2" not in str(line)

    write(file, entry("mended"))
    clock.now_s += LOOK_AGAIN_S
    assert ring.holder("mended") is not None
    assert ring.holder("old") is None


def test_a_file_without_keys_lets_nobody_in(file: Path) -> None:
    ring = KeyRing(file=write(file))
    assert not ring.is_open
    assert ring.holder("anything") is None


def test_a_file_that_is_not_there_ends_the_start(file: Path) -> None:
    with pytest.raises(DataFileError):
        create_app(Settings(api_keys_file=file), engine=StubEngine())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_key_may_do_what_its_scopes_say(connect: Connect, file: Path) -> None:
    write(
        file,
        entry("judge"),
        entry("boss", scopes=["admin"]),
        entry("gauge", scopes=["metrics"]),
    )
    async with connect(api_keys_file=file, metrics_need_key=True) as client:

        async def statuses(method: str, path: str) -> list[int]:
            body = {"input": "a lake"} if method == "POST" else None
            return [
                (await client.request(method, path, json=body, headers=bearer(key))).status_code
                for key in ("judge", "boss", "gauge", "nobody")
            ]

        assert await statuses("POST", "/v1/moderations") == [200, 403, 403, 401]
        assert await statuses("GET", "/v1/models") == [200, 403, 403, 401]
        assert await statuses("GET", "/metrics") == [403, 403, 200, 401]
        for path in ("/v1/admin/adapters", "/v1/reviews/7", "/v1/reviews"):
            refused = await statuses("GET", path)
            assert [refused[0], *refused[2:]] == [403, 403, 401]
            assert refused[1] != 403
        assert await statuses("GET", "/livez") == [200] * 4
        response = await client.get("/v1/models", headers=bearer("gauge"))
        assert response.json()["error"]["code"] == "missing_scope"


@pytest.mark.parametrize("path", ["/v1/reviews", "/v1/admin/adapters"])
async def test_without_keys_nobody_administers(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 403


async def test_the_log_names_the_holder_and_never_the_key(connect: Connect, file: Path) -> None:
    write(file, entry("shop-2026", "sw-s3cret"))
    async with connect(api_keys_file=file) as client:
        with capture_logs() as logs:
            await client.post("/v1/moderations", json={"input": "a"}, headers=bearer("sw-s3cret"))
            await client.post("/v1/moderations", json={"input": "a"}, headers=bearer("sw-wr0ng"))
    known, unknown = logs
    assert known["key_id"] == "shop-2026"
    assert "key_id" not in unknown
    for secret in ("s3cret", "wr0ng", hash_of("sw-s3cret"), hash_of("sw-wr0ng")):
        assert secret not in str(logs)


def test_metrics_can_not_need_a_key_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="METRICS_NEED_KEY"):
        Settings(metrics_need_key=True)


def run_command(*words: str) -> None:
    keys_command(words, exit_on_error=False, result_action="return_value")


def test_a_key_is_made_shown_once_and_written_down_by_its_hash(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command("new", "first", "--file", str(file))
    first = capsys.readouterr().out.splitlines()[0]
    run_command(
        *("new", "second", "--file", str(file), "--tenant", "shop", "--days", "30"),
        *("--scope", "moderate", "--scope", "metrics"),
    )
    second, shown = capsys.readouterr().out.splitlines()

    assert first not in file.read_text()
    assert second not in file.read_text()
    assert json.loads(shown) in json.loads(file.read_text())["keys"]
    ring = KeyRing(file=file)
    found = [ring.holder(key) for key in (first, second)]
    assert [one and one.id for one in found] == ["first", "second"]
    assert found[1] is not None
    assert (found[1].tenant, found[1].scopes) == ("shop", {"moderate", "metrics"})


@pytest.mark.parametrize(
    ("words", "named"),
    [(("taken",), "taken"), (("a b",), "id:"), (("x", "--tenant", "a b"), "tenant:")],
)
def test_a_key_that_can_not_be_is_not_made(
    file: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], named: str
) -> None:
    before = write(file, entry("taken")).read_text()
    with pytest.raises(SystemExit) as stopped:
        run_command("new", *words, "--file", str(file))
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert named in output.err
    assert output.out == ""
    assert file.read_text() == before
    assert list(file.parent.iterdir()) == [file]


def test_the_hash_of_a_key_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a key\n"))
    run_command("hash")
    given = capsys.readouterr().out.strip()
    assert key_from_environment(given, 1).sha256 == HEX
