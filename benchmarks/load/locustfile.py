"""Users of the endpoint for locust, with its web page or headless, on pictures nobody has seen.

    locust -f benchmarks/load/locustfile.py --host http://127.0.0.1:8000
    locust -f benchmarks/load/locustfile.py --host http://127.0.0.1:8000 --headless \
        --shape spike --most-users 32 --shape-s 120 --html locust.html

Users wait for their answers, so they slow down with the service: locust shows how it copes with a
crowd. What it does to those who come regardless, `find-capacity` and `replay --rate` show.
"""

import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from locust import FastHttpUser, LoadTestShape, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from alignment.data.sources import open_image_set
from benchmarks.fresh_images import fresh_jpeg
from benchmarks.load.bodies import BodyShape
from benchmarks.load.sending import MODERATIONS_PATH, end_of, error_code
from benchmarks.load.shapes import SHAPES

if TYPE_CHECKING:
    from alignment.data.manifest import Example, ImageSet

_MOST_WAIT_S = 2.0


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser) -> None:
    """Ours beside locust's own; each has an environment variable."""
    parser.add_argument(
        "--shape",
        choices=sorted(SHAPES),
        default="steady",
        env_var="LOCUST_SHAPE",
        help="How many users there are over time",
    )
    parser.add_argument(
        "--most-users",
        type=int,
        default=16,
        env_var="LOCUST_MOST_USERS",
        help="The most users of the shape",
    )
    parser.add_argument(
        "--shape-s",
        type=float,
        default=60.0,
        env_var="LOCUST_SHAPE_S",
        help="How long the shape lasts, in seconds",
    )
    parser.add_argument(
        "--data",
        default="open_set",
        env_var="LOCUST_DATA",
        help="open_set, which ships, a folder with a manifest, a hub id",
    )
    parser.add_argument(
        "--api-key",
        default="",
        env_var="OPENAI_API_KEY",
        is_secret=True,
        include_in_web_ui=False,
        help="Sent as a bearer token",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="Leave our `sightward` detail out, for other endpoints of OpenAI's shape",
    )


class Pictures:
    """The set's pictures in random order, with pixels that differ in every request."""

    def __init__(self, data: str, *, with_detail: bool) -> None:
        self._set: ImageSet = open_image_set(data)
        self._examples: tuple[Example, ...] = tuple(self._set.held_out())
        self._shape = BodyShape(with_detail=with_detail)
        self._turn = itertools.count()
        self._seed = random.SystemRandom().getrandbits(32)

    def next_body(self) -> bytes:
        """A request about a picture that no cache has seen."""
        example = random.choice(self._examples)  # noqa: S311 - no secret
        picture = self._set.open(example)
        data = fresh_jpeg(picture, seed=(self._seed, next(self._turn)))
        return self._shape.of_picture(data, "image/jpeg")


_opening = threading.Lock()  # locust has made it, and sleeping, gevent's


def pictures_of(environment: Environment) -> Pictures:
    """One reader for all users, opened by the first."""
    with _opening:
        found = getattr(environment, "sightward_pictures", None)
        if found is None:
            options: Any = environment.parsed_options
            found = Pictures(options.data, with_detail=not options.plain)
            environment.sightward_pictures = found  # type: ignore[attr-defined]
        assert isinstance(found, Pictures)  # noqa: S101 - set just above
        return found


class Uploader(FastHttpUser):
    """Sends a picture, waits for its verdict, and goes on after a moment.

    One that is refused comes back when it was told to. Refusals and errors are told apart by name.
    """

    wait_time = between(0.0, 0.2)

    def on_start(self) -> None:
        """Open the pictures."""
        self.pictures = pictures_of(self.environment)
        options: Any = self.environment.parsed_options
        self.headers = {"content-type": "application/json"}
        if options.api_key:
            self.headers["authorization"] = f"Bearer {options.api_key}"

    @task
    def moderate(self) -> None:
        """One picture, one verdict."""
        body = self.pictures.next_body()
        with self.client.post(
            MODERATIONS_PATH, data=body.decode(), headers=self.headers, catch_response=True
        ) as response:
            headers = {name.lower(): value for name, value in (response.headers or {}).items()}
            end = end_of(response.status_code, headers)
            if end == "ok":
                response.success()
                return
            said = error_code(response.content or b"") or str(response.status_code)
            response.failure(f"{end}: {said}")
        if end == "refused":
            self._wait_for_it(headers)

    def _wait_for_it(self, headers: dict[str, str]) -> None:
        try:
            wait_s = float(headers.get("retry-after-ms", "")) / 1000
        except ValueError:
            wait_s = 1.0
        time.sleep(min(_MOST_WAIT_S, max(0.0, wait_s)))


class ChosenShape(LoadTestShape):
    """What `--shape`, `--most-users` and `--shape-s` say."""

    def tick(self) -> tuple[int, float] | None:
        """How many users there are now; None ends the run."""
        assert self.runner is not None  # noqa: S101 - locust sets it before the first tick
        options: Any = self.runner.environment.parsed_options
        crowd = SHAPES[options.shape](
            self.get_run_time(),  # type: ignore[no-untyped-call]
            options.most_users,
            options.shape_s,
        )
        return None if crowd is None else (crowd.users, crowd.per_s)
