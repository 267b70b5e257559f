"""The remote engine's parts that need no server: waits, refusals, dialects, addresses, pictures."""

import base64
import io
import json
import time
from email.utils import formatdate

import pytest
from PIL import Image

from server.engine.remote.address import Address
from server.engine.remote.dialect import Dialect
from server.engine.remote.pictures import PictureEncoding
from server.engine.remote.refusals import Refusal
from server.engine.remote.retries import Patience, TransientError, requested_wait_s, retry_hook


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:30:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            120.0,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 07:30:00 GMT",
            },
            None,
        ),
    ],
)
def test_the_wait_that_headers_ask_for(headers: dict[str, str], wait_s: float | None) -> None:
    assert requested_wait_s(headers) == wait_s


def test_a_date_without_the_endpoints_clock_counts_from_ours() -> None:
    wait_s = requested_wait_s({"retry-after": formatdate(time.time() + 3600, usegmt=True)})
    assert wait_s == pytest.approx(3600, abs=60)


def test_only_what_may_pass_is_tried_again_and_within_patience() -> None:
    hook = retry_hook(Patience(total_s=60))
    assert hook(ValueError()) is False
    assert hook(TransientError("busy")) is True
    assert hook(TransientError("busy", wait_s=30.0)) == 30.0
    assert hook(TransientError("busy", wait_s=61.0)) is False


@pytest.mark.parametrize("field", ["connect_s", "silence_s", "attempt_s", "attempts", "total_s"])
def test_patience_is_positive(field: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        Patience(**{field: 0})


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({"error": {"message": "no", "param": "seed", "code": "bad"}}, "no", "seed", "bad"),
        (
            {"error": {"message": "no", "type": "insufficient_quota"}},
            "no",
            None,
            "insufficient_quota",
        ),
        ({"error": "plain"}, "plain", None, None),
        ([{"error": {"message": "listed", "code": 400}}], "listed", None, "400"),
        ({"object": "error", "message": "older", "code": 400}, "older", None, "400"),
        ({"detail": "Not Found"}, "Not Found", None, None),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "extra", "input": "private"}]},
            "seed: extra",
            "seed",
            None,
        ),
        ({}, "", None, None),
        (None, "None", None, None),
    ],
)
def test_refusals_are_read_in_every_shape(
    body: object, message: str, param: str | None, code: str | None
) -> None:
    refusal = Refusal.read(400, json.dumps(body).encode())
    assert refusal == Refusal(400, message, param, code)


def test_a_refusal_is_one_short_line_without_secrets() -> None:
    text = "one\n two " + "x" * 10_000
    message = Refusal.read(500, text.encode()).message
    assert message.startswith("one two xxx")
    assert len(message) == 300
    # Cut in the middle, a secret would be half of one.
    straddling = "x" * 290 + "sk-0123456789-end"
    assert "sk-0" not in Refusal.read(500, straddling.encode(), hide=("sk-0123456789",)).message


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(400, "bad picture"),
        Refusal(500, "logprobs", "logprobs"),
        Refusal(400, "max_tokens is too large: 20000", "max_tokens", "invalid_value"),
        Refusal(400, "the model big-seed-1 reads no pictures"),
    ],
)
def test_a_refusal_that_names_no_setting_changes_nothing(refusal: Refusal) -> None:
    assert Dialect().adapted_to(refusal) is None


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed"])
@pytest.mark.parametrize(
    "message", ["'{}' is not supported", "unknown field `{}`", "Unrecognized argument: {}"]
)
def test_a_setting_is_given_up_once(name: str, message: str) -> None:
    refusal = Refusal(400, message.format(name))
    adapted = Dialect().adapted_to(refusal)
    assert adapted == Dialect(left_out=frozenset({name}))
    assert adapted.adapted_to(refusal) is None


def test_an_endpoint_that_refuses_everything_runs_out_of_settings() -> None:
    everything = Refusal(400, "'temperature' 'top_p' 'seed' top_logprobs max_completion_tokens")
    dialect: Dialect | None = Dialect()
    steps = 0
    while (dialect := dialect.adapted_to(everything)) is not None:
        steps += 1
        last = dialect
    assert steps == 6
    assert last.settings(max_tokens=1, temperature=0.0, top_p=0.9, seed=0, wants_logprobs=True) == {
        "max_completion_tokens": 1
    }


def test_an_address_shows_its_host_alone() -> None:
    address = Address.parse("https://me:pass@api.example:8443/open/v1/?key=abc#part", None)
    assert address.host == "api.example:8443"
    assert str(address.completions) == ("https://api.example:8443/open/v1/chat/completions?key=abc")
    assert repr(address) == "Address(host='api.example:8443')"


def test_a_picture_is_scaled_only_when_larger_and_keeps_its_shape() -> None:
    encoding = PictureEncoding(max_side_px=100)

    def sent_size(width: int, height: int) -> tuple[int, int]:
        url = encoding.part(Image.new("RGB", (width, height)))["image_url"]["url"]
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size

    assert sent_size(100, 60) == (100, 60)
    assert sent_size(400, 200) == (100, 50)
    assert sent_size(3, 900) == (1, 100)


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_nothing_but_pixels_is_sent(image_format: str) -> None:
    image = Image.new("RGBA", (8, 8), "red")
    image.info |= {"exif": b"Exif\0\0where", "icc_profile": b"profile", "comment": b"taken by me"}
    part = PictureEncoding(image_format).part(image)
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    assert not any(word in data for word in (b"where", b"profile", b"taken by me"))
    assert Image.open(io.BytesIO(data)).mode == "RGB"


@pytest.mark.parametrize("options", [{"jpeg_quality": 0}, {"jpeg_quality": 96}, {"max_side_px": 0}])
def test_encodings_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PictureEncoding(**options)
