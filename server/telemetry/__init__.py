"""What the service says about itself: one log line a request, and metrics.

Neither ever holds picture bytes, base64, texts, web addresses or keys: what was asked is the
caller's, only how it went is ours.
"""

from server.telemetry.logs import configure_logging, quiet_libraries
from server.telemetry.metrics import Metrics, Stage
from server.telemetry.request_record import RequestRecord

__all__ = ["Metrics", "RequestRecord", "Stage", "configure_logging", "quiet_libraries"]
