"""Fetching over real sockets: a good server on 127.0.0.2, which is opened, and a trap on 127.0.0.1.

The trap counts whoever connects. Names are looked up by a resolver that answers from a script, and
every connection that is attempted is noted.
"""

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpcore2
import httpx2
import pytest

from server.errors import (
    UrlAnswerError,
    UrlBytesError,
    UrlFetchError,
    UrlFormError,
    UrlHostError,
    UrlRedirectError,
    UrlStatusError,
    UrlTimeoutError,
    UrlUnreachableError,
)
from server.ingest.fetch import ImageFetcher
from server.ingest.fetch_addresses import Address
from server.ingest.fetch_rules import FetchRules, host_entry
from server.telemetry import configure_logging

GOOD, TRAP = "127.0.0.2", "127.0.0.1"
PICTURE = b"not really a picture"
MAX_BYTES = 1_000
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: reading the list of those whom one trusts takes long."""

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def reply(
    status: int = 200, body: bytes = PICTURE, length: int | None = None, **headers: str
) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {length or len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Script:
    """A resolver: each name's answers in turn, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[str, ...]]] = {}
        self.asked: list[str] = []
        self.is_closed = False

    async def resolve(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        turns = self.answers[host]
        found = turns.pop(0) if len(turns) > 1 else turns[0]
        return [ip_address(text) for text in found]

    def close(self) -> None:
        self.is_closed = True


class Wire(httpcore2.AnyIOBackend):
    """The real thing, which notes what it was told to connect to."""

    def __init__(self) -> None:
        self.connected: list[str] = []

    async def connect_tcp(self, host: str, *args: object, **options: object) -> object:  # type: ignore[override]
        self.connected.append(host)
        return await super().connect_tcp(host, *args, **options)  # type: ignore[arg-type]


class World:
    """A good server, a trap on the same port, and what was asked of them."""

    def __init__(self) -> None:
        self.port = 0
        self.pages: dict[str, Reply] = {}
        self.requests: list[bytes] = []
        self.trapped = 0
        self.answering: set[asyncio.Task[None]] = set()
        self.script = Script()
        self.script.answers["good.example"] = self.script.answers["good.example."] = [(GOOD,)]
        self.wire = Wire()

    def url(self, path: str = "/picture", host: str = GOOD) -> str:
        return f"http://{host}:{self.port}{path}"

    async def fetch(self, url: str, **rules: object) -> bytes:
        chosen: dict[str, object] = {
            "max_bytes": MAX_BYTES,
            "timeout_s": 30.0,
            "ports": frozenset({self.port}),
            "opened": (ip_network(f"{GOOD}/32"),),
            **rules,
        }
        fetcher = ImageFetcher(
            FetchRules(**chosen),  # type: ignore[arg-type]
            resolver=self.script,
            connector=self.wire,
            ssl_context=TRUSTS_NOBODY,
        )
        try:
            return await fetcher.fetch(url)
        finally:
            await fetcher.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.answering.add(task)
        try:
            head = await reader.read(3)
            if head == b"GET":  # and nothing of TLS
                head += await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            path = [*head.split(), b"", b""][1].decode("latin-1")
            page = self.pages.get(path, reply(404, b"nothing"))
            if isinstance(page, bytes):
                writer.write(page)
            else:
                await page(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()

    async def trap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trapped += 1
        writer.write(reply(body=b"secret"))
        writer.close()


def listening_on_one_port(*hosts: str) -> list[socket.socket]:
    """A socket a host, all on the same port; it may be taken on one of them."""
    while True:
        first = socket.create_server((hosts[0], 0))
        try:
            port = first.getsockname()[1]
            return [first, *(socket.create_server((host, port)) for host in hosts[1:])]
        except OSError:
            first.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    found.pages["/picture"] = reply()
    good, trap = listening_on_one_port(GOOD, TRAP)
    found.port = good.getsockname()[1]
    async with (
        await asyncio.start_server(found.serve, sock=good),
        await asyncio.start_server(found.trap, sock=trap),
    ):
        yield found
        for task in found.answering:
            task.cancel()
        await asyncio.gather(*found.answering)


# How one asks for the trap, or for something else inside, without anyone's help.
FORBIDDEN_HOSTS = """
    127.0.0.1 127.0.0.3 127.1 127.0.1 0 0.0.0.0 2130706433 0x7f000001 0x7f.0.0.1 0x7f.1
    0177.0.0.1 017700000001 127.0.0.01 0127.0.0.1 127.0.0.1. 127.0.0.0x1 1.2.3.4.5 256.1.1.1
    127.0.0.1%00 127.0.0.1%2e %31%32%37.0.0.1 127\u30020\u30020\u30021 \u2460\u2461\u2466.0.0.1
    [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [::127.0.0.1]
    [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:7f00:1::]
    [2002:7f00:1::7f00:1] [2001:0:7f00:1::80ff:fffe] [2606:4700::5efe:7f00:1]
    [fe80::1] [fe80::1%25lo] [::1%25lo] [fc00::1] [fd00:ec2::254] [ff02::1] [2001:db8::1] [v1.x]
    10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 100.100.100.200 169.254.169.254 169.254.170.2
    168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255
    [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe] 2852039166 0xa9fea9fe
""".split()  # noqa: SIM905 - to be read by people

# What a name may lead to.
FORBIDDEN_ANSWERS = [
    ("127.0.0.1",),
    ("0.0.0.0",),
    ("10.0.0.1",),
    ("169.254.169.254",),
    ("192.168.0.1",),
    ("::1",),
    ("::ffff:127.0.0.1",),
    ("64:ff9b::7f00:1",),
    ("2002:7f00:1::1",),
    ("fe80::1",),
    ("fe80::1%1",),
    ("fd00::1",),
    ("224.0.0.1",),
    (GOOD, "127.0.0.1"),
    ("127.0.0.1", GOOD),
    (GOOD, "::1"),
    (GOOD, GOOD, "10.0.0.1"),
    (),
]


def check_nothing_got_out(world: World, *, hops: int = 0) -> None:
    assert world.trapped == 0
    assert world.wire.connected == [GOOD] * hops


async def test_the_trap_would_count(world: World) -> None:
    everything = (ip_network("127.0.0.0/8"),)
    assert await world.fetch(world.url(host=TRAP), opened=everything) == b"secret"
    assert world.trapped == 1
    assert world.wire.connected == [TRAP]


@pytest.mark.parametrize("host", ["good.example", "GOOD.example", GOOD])
async def test_a_picture_is_fetched_from_where_it_may_be(world: World, host: str) -> None:
    assert await world.fetch(world.url(host=host)) == PICTURE
    check_nothing_got_out(world, hops=1)
    (request,) = world.requests
    assert request.startswith(b"GET /picture HTTP/1.1\r\n")
    assert f"host: {host.lower()}:{world.port}\r\n".encode() in request.lower()
    for absent in (b"cookie", b"authorization", b"referer"):
        assert absent not in request.lower()


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
async def test_a_forbidden_host_is_never_connected_to(world: World, host: str) -> None:
    with pytest.raises((UrlFormError, UrlHostError)):
        await world.fetch(world.url(host=host))
    check_nothing_got_out(world)


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
async def test_nor_is_it_after_a_redirect(world: World, host: str) -> None:
    world.pages["/away"] = reply(302, location=_latin1(world.url(host=host)))
    with pytest.raises((UrlFormError, UrlHostError)):
        await world.fetch(world.url("/away"))
    check_nothing_got_out(world, hops=1)


def _latin1(url: str) -> str:
    """The bytes of `url` in UTF-8, as a header carries them."""
    return url.encode().decode("latin-1")


@pytest.mark.parametrize("answers", FORBIDDEN_ANSWERS)
async def test_a_name_that_leads_inside_is_refused(world: World, answers: tuple[str, ...]) -> None:
    world.script.answers["evil.example"] = [answers]
    with pytest.raises(UrlHostError):
        await world.fetch(world.url(host="evil.example"))
    check_nothing_got_out(world)


@pytest.mark.parametrize("answers", FORBIDDEN_ANSWERS)
async def test_a_name_is_looked_up_anew_after_a_redirect(
    world: World, answers: tuple[str, ...]
) -> None:
    world.script.answers["evil.example"] = [(GOOD,), answers]
    world.pages["/away"] = reply(307, location="/picture")
    with pytest.raises(UrlHostError):
        await world.fetch(world.url("/away", host="evil.example"))
    assert world.script.asked == ["evil.example"] * 2
    check_nothing_got_out(world, hops=1)


async def test_what_was_checked_is_what_is_connected_to(world: World) -> None:
    world.script.answers["rebinding.example"] = [(GOOD,), (TRAP,)]
    assert await world.fetch(world.url(host="rebinding.example")) == PICTURE
    assert world.script.asked == ["rebinding.example"]
    check_nothing_got_out(world, hops=1)


async def test_the_next_address_is_tried_where_one_does_not_answer(world: World) -> None:
    world.script.answers["two.example"] = [("127.0.0.4", GOOD)]
    opened = (ip_network(f"{GOOD}/32"), ip_network("127.0.0.4/32"))
    assert await world.fetch(world.url(host="two.example"), opened=opened) == PICTURE
    assert world.wire.connected == ["127.0.0.4", GOOD]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://{good}/picture",
        "file:///etc/passwd",
        "gopher://{good}/_x",
        "data:image/png;base64,AAAA",
        "//{good}/picture",
        "http:{good}/picture",
        "http:///picture",
        "http://user@{good}/picture",
        "http://user:secret@{good}/picture",
        "http://good.example\\@{trap}/picture",
        "http://{trap}\\@good.example/picture",
        "http://{good}/pic ture",
        "http://{good}/pic\r\nhost: evil",
        "http://{good}/pic\tture",
        " http://{good}/picture",
        "http://127.0.0.2/picture",
        "http://127.0.0.2:22/picture",
        "http://127.0.0.2:0/picture",
        "http://127.0.0.2:-1/picture",
        "http://127.0.0.2:99999/picture",
        "http://127.0.0.2:x/picture",
        "https://127.0.0.2/picture",
        "http://a..b:{port}/picture",
        "http://-a.example:{port}/picture",
        "http://a*b.example:{port}/picture",
        "http://" + "a" * 64 + ".example:{port}/picture",
        "http://" + "a." * 130 + "example:{port}/picture",
        "http://{good}/" + "a" * 8_192,
    ],
)
async def test_an_address_of_another_form_is_refused(world: World, url: str) -> None:
    filled = url.format(good=f"{GOOD}:{world.port}", trap=f"{TRAP}:{world.port}", port=world.port)
    with pytest.raises(UrlFormError):
        await world.fetch(filled)
    world.pages["/away"] = reply(301, location=filled)
    # What is relative to a good address may lead back there, and nowhere else.
    with contextlib.suppress(UrlFetchError):
        await world.fetch(world.url("/away"))
    assert set(world.wire.connected) <= {GOOD}
    assert world.trapped == 0


async def test_https_is_not_redirected_to_http(world: World) -> None:
    rules = FetchRules(max_bytes=1)
    base = httpx2.URL("https://good.example/")
    assert rules.checked_url("/picture", base=base).scheme == "https"
    with pytest.raises(UrlFormError):
        rules.checked_url("http://good.example/picture", base=base)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_three_redirects_are_followed_and_no_fourth(world: World, status: int) -> None:
    for hop in range(4):
        world.pages[f"/{hop}"] = reply(status, b"", location=f"/{hop + 1}")
    world.pages["/3"] = reply()
    assert await world.fetch(world.url("/0")) == PICTURE
    assert len(world.wire.connected) == 4

    world.pages["/3"] = reply(status, b"", location="/picture")
    with pytest.raises(UrlRedirectError):
        await world.fetch(world.url("/0"))
    assert len(world.wire.connected) == 8
    assert world.trapped == 0


async def test_a_loop_of_redirects_ends(world: World) -> None:
    world.pages["/loop"] = reply(302, location="/loop")
    with pytest.raises(UrlRedirectError):
        await world.fetch(world.url("/loop"))


@pytest.mark.parametrize("listed", ["good.example", "*.example", "other.org,good.example"])
async def test_with_a_list_only_its_hosts_are_asked(world: World, listed: str) -> None:
    hosts = tuple(host_entry(entry) for entry in listed.split(","))
    assert await world.fetch(world.url(host="good.example"), hosts=hosts) == PICTURE
    assert await world.fetch(world.url(host="good.example."), hosts=hosts) == PICTURE
    for host in (GOOD, "example", "good.example.evil.org", "notgood.examples", "evil.org"):
        world.script.answers[host] = [(GOOD,)]
        world.pages["/away"] = reply(302, location=world.url(host=host))
        for url in (world.url(host=host), world.url("/away", host="good.example")):
            with pytest.raises(UrlHostError):
                await world.fetch(url, hosts=hosts)
    assert set(world.script.asked) <= {"good.example", "good.example."}


@pytest.mark.parametrize("entry", ["", "*", "*.", "a b", "http://x.org", "x.org:80", "*.127.0.0.1"])
def test_an_entry_that_no_host_can_match_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        host_entry(entry)


async def test_more_bytes_than_are_taken_end_the_fetch(world: World) -> None:
    world.pages["/exact"] = reply(body=b"x" * MAX_BYTES)
    assert len(await world.fetch(world.url("/exact"))) == MAX_BYTES
    world.pages["/declared"] = reply(body=b"", length=MAX_BYTES + 1)
    with pytest.raises(UrlBytesError):
        await world.fetch(world.url("/declared"))


async def test_bytes_are_counted_where_nobody_declares_them(world: World) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            await writer.drain()
            sent += 100

    world.pages["/endless"] = endless
    with pytest.raises(UrlBytesError):
        await world.fetch(world.url("/endless"))
    assert sent < 50_000_000  # what the sockets hold, not what the server would give


async def _never(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _head_and_no_body(writer: asyncio.StreamWriter) -> None:
    writer.write(reply(body=b"x", length=100))
    await writer.drain()
    await asyncio.Event().wait()


@pytest.mark.parametrize("page", [_never, _head_and_no_body])
async def test_a_server_that_takes_its_time_is_given_up(world: World, page: Reply) -> None:
    world.pages["/slow"] = page
    with pytest.raises(UrlTimeoutError):
        await world.fetch(world.url("/slow"), timeout_s=0.05)


async def test_a_name_server_that_takes_its_time_is_given_up(world: World) -> None:
    async def never(host: str) -> list[Address]:
        await asyncio.Event().wait()
        return []

    world.script.resolve = never  # type: ignore[method-assign]
    with pytest.raises(UrlTimeoutError):
        await world.fetch(world.url(host="slow.example"), timeout_s=0.05)


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (reply(404), UrlStatusError),
        (reply(500), UrlStatusError),
        (reply(204, b""), UrlStatusError),
        (reply(304, b""), UrlStatusError),
        (reply(206), UrlStatusError),
        (reply(302), UrlAnswerError),
        (reply(content_encoding="gzip"), UrlAnswerError),
        (reply(content_encoding="BR"), UrlAnswerError),
        (reply(length=100), UrlUnreachableError),
        (b"", UrlUnreachableError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", UrlUnreachableError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", UrlUnreachableError),
    ],
)
async def test_an_answer_that_is_no_picture_has_its_own_error(
    world: World, page: bytes, error: type[UrlFetchError]
) -> None:
    world.pages["/odd"] = page
    with pytest.raises(error):
        await world.fetch(world.url("/odd"))


async def test_a_port_on_which_nobody_listens_is_unreachable(world: World) -> None:
    world.script.answers["dead.example"] = [("127.0.0.4",)]
    with pytest.raises(UrlUnreachableError):
        await world.fetch(world.url(host="dead.example"), opened=(ip_network("127.0.0.4/32"),))


async def test_no_proxy_of_the_environment_is_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://{TRAP}:{world.port}")
    assert await world.fetch(world.url()) == PICTURE
    check_nothing_got_out(world, hops=1)


async def test_a_plain_server_is_not_spoken_to_in_the_clear_for_https(world: World) -> None:
    with pytest.raises(UrlUnreachableError):
        await world.fetch(f"https://{GOOD}:{world.port}/picture")
    assert PICTURE not in b"".join(world.requests)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of good.example, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("a certificate is made by openssl, which this machine lacks")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-keyout {key} -out {made} -subj /CN=good.example -addext subjectAltName=DNS:good.example",
        shell=True,
        check=True,
        capture_output=True,
    )
    return made, key


async def test_a_certificate_is_held_to_the_name_and_not_to_the_address(
    world: World, certificate: tuple[Path, Path]
) -> None:
    made, key = certificate
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(made, key)
    trusting = ssl.create_default_context(cafile=str(made))
    world.script.answers["other.example"] = [(GOOD,)]
    async with await asyncio.start_server(world.serve, GOOD, 0, ssl=mine) as server:
        port = server.sockets[0].getsockname()[1]
        rules = FetchRules(
            max_bytes=MAX_BYTES,
            ports=frozenset({port}),
            opened=(ip_network(f"{GOOD}/32"),),
        )
        fetcher = ImageFetcher(rules, resolver=world.script, ssl_context=trusting)
        assert await fetcher.fetch(f"https://good.example:{port}/picture") == PICTURE
        for host in ("other.example", GOOD):
            with pytest.raises(UrlUnreachableError):
                await fetcher.fetch(f"https://{host}:{port}/picture")
        await fetcher.close()


async def test_as_many_are_fetched_at_once_as_may_be(world: World) -> None:
    running = most = 0
    may_end = asyncio.Event()

    async def page(writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            may_end.set()
        await may_end.wait()
        running -= 1
        writer.write(reply())

    world.pages["/counted"] = page
    rules = FetchRules(
        max_bytes=MAX_BYTES,
        ports=frozenset({world.port}),
        opened=(ip_network(f"{GOOD}/32"),),
        at_once=2,
    )
    fetcher = ImageFetcher(rules, resolver=world.script, ssl_context=TRUSTS_NOBODY)
    found = await asyncio.gather(*(fetcher.fetch(world.url("/counted")) for _ in range(6)))
    await fetcher.close()
    assert found == [PICTURE] * 6
    assert most == 2
    assert world.script.is_closed


@pytest.mark.parametrize("name", ["localhost", "no-such-name.invalid"])
async def test_the_machines_own_resolver_is_held_to_the_same(world: World, name: str) -> None:
    rules = FetchRules(max_bytes=MAX_BYTES, ports=frozenset({world.port}))
    fetcher = ImageFetcher(rules, connector=world.wire, ssl_context=TRUSTS_NOBODY)
    with pytest.raises(UrlHostError):
        await fetcher.fetch(world.url(host=name))
    await fetcher.close()
    check_nothing_got_out(world)


def _words(records: Iterable[logging.LogRecord]) -> str:
    return "\n".join(record.getMessage() for record in records)


async def test_no_log_names_the_address(world: World, caplog: pytest.LogCaptureFixture) -> None:
    configure_logging(level="info", log_format="json")
    world.pages["/away?sig=s3cret"] = reply(302, location="/picture?sig=s3cret")
    world.pages["/picture?sig=s3cret"] = reply()
    with caplog.at_level(logging.DEBUG):
        assert await world.fetch(world.url("/away?sig=s3cret")) == PICTURE
    assert "s3cret" not in _words(caplog.records)
    assert "good.example" not in _words(caplog.records)
