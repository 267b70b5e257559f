"""The endpoint that does nothing, started as a process of its own."""

from benchmarks.processes.asked import AskedProcess
from benchmarks.processes.child import python_module


class NoOpEndpoint(AskedProcess):
    """Listens while the context is open; `url` is known once it is ready."""

    def __init__(self) -> None:
        super().__init__(python_module("benchmarks.load.noop_service"))
        self.url = ""

    def __enter__(self) -> "NoOpEndpoint":
        super().__enter__()
        self.url = f"http://127.0.0.1:{self.wait_until_ready()['port']}"
        return self
