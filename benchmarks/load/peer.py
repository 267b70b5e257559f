"""Who answers: our own endpoint, or any other of OpenAI's shape."""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from benchmarks.endpoint import EndpointError
from benchmarks.load.wire import LostError, Sender

Contract = Literal["sightward", "openai"]


@dataclass(frozen=True, slots=True)
class Peer:
    """By which contract it answers, and what it serves: None where only its answers tell."""

    contract: Contract
    model_version: str | None


async def find_peer(sender: Sender, url: str, *, expected: Contract | None = None) -> Peer:
    """Ask it; `expected` says instead what it is.

    Raises `EndpointError` where nobody answers, where ours is not ready, and where it is not what
    was expected.
    """
    if expected == "openai":
        return Peer("openai", None)
    try:
        ready = await sender.request("GET", "/readyz")
        # Others have no such page; whoever says this is one that will be ready.
        if ready.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise EndpointError(url, "not ready yet, /readyz says 503")
        reply = await sender.request("GET", "/v1/models")
        version = json.loads(reply.body)["data"][0]["sightward"]["model_version"]
    except LostError as error:
        raise EndpointError(url, str(error)) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        if expected == "sightward":
            raise EndpointError(url, "/v1/models does not name a model version") from error
        return Peer("openai", None)
    return Peer("sightward", str(version))
