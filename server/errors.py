"""Every error the service raises on purpose: one root, leaves that carry fields.

`server.api.errors` maps these classes to HTTP status and error code; nothing else decides that.
"""

from pathlib import Path
from typing import Literal


class SightwardError(Exception):
    """Root of all errors raised on purpose."""


class EngineError(SightwardError):
    """The engine can't do what was asked."""


class EngineStartError(EngineError):
    """The engine can't start; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EngineUnavailableError(EngineError):
    """The engine is stopped, starting or dead: nothing can be judged now."""


class QuestionTooLongError(EngineError):
    """The question does not fit into the model's context."""

    def __init__(self, max_tokens: int) -> None:
        super().__init__(f"the question does not fit into {max_tokens} tokens")
        self.max_tokens = max_tokens


class OptionWithoutTokenError(EngineError):
    """The model's tokenizer writes an answer option in more than one token."""

    def __init__(self, option: str) -> None:
        super().__init__(f"the tokenizer has no single token for the option {option!r}")
        self.option = option


class TooManyAnswerTokensError(EngineError):
    """A question's options and the model's rows need more probabilities than one call returns."""

    def __init__(self, limit: int, got: int) -> None:
        super().__init__(f"{got} token probabilities asked for, the engine returns {limit}")
        self.limit = limit
        self.got = got


class UnusableAnswerError(EngineError):
    """The engine took the question and gave nothing that can be read; `reason` is internal."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConversationError(EngineError):
    """The model's chat template does not take these turns; `problem` is the template's own word."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.param = "messages"


class PictureLimitError(EngineError):
    """More pictures in one conversation than the engine was started for."""

    def __init__(self, limit: int, got: int) -> None:
        super().__init__(f"{got} pictures in one conversation, the engine takes {limit}")
        self.limit = limit
        self.got = got
        self.param = "messages"


class SeedError(EngineError):
    """The engine can't sample with a seed of the caller's."""

    def __init__(self) -> None:
        super().__init__("sampling with a seed is not possible on a CPU")
        self.param = "seed"


class NoFastPathError(SightwardError):
    """A safety head can't judge pictures by itself here; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no fast path: {reason}")
        self.reason = reason


class ConceptsError(SightwardError):
    """Taxonomy, probes or policy were asked for, or given, something they don't have."""


class UnknownCategoryError(ConceptsError):
    """`name` is none of the taxonomy's categories."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown category {name!r}")
        self.name = name


class UnknownConceptError(ConceptsError):
    """`name` is none of the taxonomy's concepts."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown concept {name!r}")
        self.name = name


class UnknownProbeError(ConceptsError):
    """`probe_id` is none of the judgements in the probe set, `known`."""

    def __init__(self, probe_id: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown probe {probe_id!r}; known: {', '.join(known)}")
        self.probe_id = probe_id
        self.known = known


class OptionCountError(ConceptsError):
    """A lettered question needs 2 to `limit` options."""

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(f"{got} options given, 2 to {limit} can be lettered")
        self.got = got
        self.limit = limit


class CalibrationMismatchError(ConceptsError):
    """A calibration was fitted for other `what` (probes, questions, taxonomy) than are asked."""

    def __init__(self, what: str, fitted_for: str, asked: str) -> None:
        super().__init__(
            f"the calibration was fitted for the {what} {fitted_for}, asked are {asked}; fit it "
            "anew, or serve raw scores with --calibration none"
        )
        self.what = what
        self.fitted_for = fitted_for
        self.asked = asked


class DataFileError(ConceptsError):
    """A taxonomy, probe, policy or calibration file can't be used; `problems` name bad fields."""

    def __init__(self, path: Path, problems: tuple[str, ...]) -> None:
        super().__init__(f"{path}: {'; '.join(problems)}")
        self.path = path
        self.problems = problems


class ImageError(SightwardError):
    """Bytes that can't be taken as a picture. A refused picture is never judged, so never safe."""


class EmptyImageError(ImageError):
    """There are no bytes at all."""


class ImageBytesError(ImageError):
    """The encoded picture is larger than this service takes."""

    def __init__(self, limit_bytes: int, got_bytes: int) -> None:
        super().__init__(f"{got_bytes} bytes, the limit is {limit_bytes}")
        self.limit_bytes = limit_bytes
        self.got_bytes = got_bytes


class ImageFormatError(ImageError):
    """The content starts like none of the formats that are decoded; `supported` names those."""

    def __init__(self, supported: tuple[str, ...]) -> None:
        super().__init__(f"not one of {', '.join(supported)}")
        self.supported = supported


class ImageSideError(ImageError):
    """The header claims a side that is zero or too long, in pixels."""

    def __init__(self, limit_px: int, width: int, height: int) -> None:
        super().__init__(f"{width} x {height} pixels, each side must be 1 to {limit_px}")
        self.limit_px = limit_px
        self.width = width
        self.height = height


class ImagePixelsError(ImageError):
    """The header claims more pixels than are decoded."""

    def __init__(self, limit_pixels: int, width: int, height: int) -> None:
        super().__init__(f"{width} x {height} pixels, the limit is {limit_pixels} in all")
        self.limit_pixels = limit_pixels
        self.width = width
        self.height = height


class ImageExpansionError(ImageError):
    """The header claims more pixels for each encoded byte than any photograph has."""

    def __init__(self, limit_pixels_per_byte: int, got_bytes: int, pixels: int) -> None:
        super().__init__(
            f"{pixels} pixels from {got_bytes} bytes, the limit is {limit_pixels_per_byte} a byte"
        )
        self.limit_pixels_per_byte = limit_pixels_per_byte
        self.got_bytes = got_bytes
        self.pixels = pixels


class ImageScansError(ImageError):
    """The file asks for more passes over the picture than any encoder writes."""

    def __init__(self, limit_scans: int, got_scans: int) -> None:
        super().__init__(f"{got_scans} scans, the limit is {limit_scans}")
        self.limit_scans = limit_scans
        self.got_scans = got_scans


class TruncatedImageError(ImageError):
    """The file ends before its format says it does, even where a part could be shown."""

    def __init__(self, image_format: str) -> None:
        super().__init__(f"the {image_format} file is cut short")
        self.image_format = image_format


class CorruptImageError(ImageError):
    """The content begins as `image_format` and can't be decoded as that."""

    def __init__(self, image_format: str) -> None:
        super().__init__(f"the {image_format} file is damaged")
        self.image_format = image_format


class DataUrlError(ImageError):
    """The text is not ``data:image/<type>;base64,<payload>`` with sound base64."""


class UrlFetchError(ImageError):
    """The picture is named by a web address and can't be had from there. None names the address."""


class UrlFetchDisabledError(UrlFetchError):
    """This server fetches nothing."""


class UrlFormError(UrlFetchError):
    """The address is not of a form that is fetched; `problem` is a clause in our own words."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class UrlHostError(UrlFetchError):
    """Its host is not fetched from. `reason` is internal: it would tell of a network's inside."""

    def __init__(self, reason: Literal["not listed", "unresolved", "forbidden"]) -> None:
        super().__init__(reason)
        self.reason = reason


class UrlUnreachableError(UrlFetchError):
    """Its host does not answer, or in no way that can be understood, or breaks off."""


class UrlTimeoutError(UrlFetchError):
    """It took longer than this server waits, all redirects together."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not within {timeout_s} s")
        self.timeout_s = timeout_s


class UrlRedirectError(UrlFetchError):
    """It redirects more often than is followed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} redirects")
        self.limit = limit


class UrlStatusError(UrlFetchError):
    """Its host answers with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class UrlBytesError(UrlFetchError):
    """What comes is larger than this service takes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class UrlAnswerError(UrlFetchError):
    """The answer can't be used; `problem` is a clause in our own words."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class RequestError(SightwardError):
    """A request that can't be taken as it is; `param` is the path of the field at fault."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidBodyError(RequestError):
    """The body can't be read as JSON or as a form; `problem` is a clause in our own words."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class InvalidFieldError(RequestError):
    """A field is missing, of the wrong type or out of its range; `problem` says which."""

    def __init__(self, problem: str, *, param: str | None) -> None:
        super().__init__(problem, param=param)
        self.problem = problem


class ContentTypeError(RequestError):
    """The body is neither JSON nor a multipart form."""

    def __init__(self) -> None:
        super().__init__("neither JSON nor a multipart form")


class BodyBytesError(RequestError):
    """The body is larger than this service reads."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"more than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class InputCountError(RequestError):
    """More inputs in one call than are taken."""

    def __init__(self, limit: int, got: int, *, param: str = "input") -> None:
        super().__init__(f"{got} inputs, the limit is {limit}", param=param)
        self.limit = limit
        self.got = got


class ImageCountError(RequestError):
    """More pictures in one call than are taken."""

    def __init__(self, limit: int, got: int, *, param: str = "input") -> None:
        super().__init__(f"{got} pictures, the limit is {limit}", param=param)
        self.limit = limit
        self.got = got


class NothingToJudgeError(RequestError):
    """A conversation without anything that the policy has judged; it gets no answer."""

    def __init__(self) -> None:
        super().__init__("no picture, and words are not judged", param="messages")


class NotJudgedError(RequestError):
    """A conversation holds something that could not be judged; it gets no answer."""

    def __init__(self) -> None:
        super().__init__("something in the conversation could not be judged", param="messages")


class ChatUnsupportedError(RequestError):
    """The engine that is served answers questions and writes nothing."""

    def __init__(self) -> None:
        super().__init__("the engine does not write", param="model")


class TextLengthError(RequestError):
    """One text is longer than is judged."""

    def __init__(self, limit_chars: int, got_chars: int) -> None:
        super().__init__(f"{got_chars} characters, the limit is {limit_chars}")
        self.limit_chars = limit_chars
        self.got_chars = got_chars


class ApiKeyError(RequestError):
    """The bearer key is missing or is none of the configured ones."""

    def __init__(self) -> None:
        super().__init__("missing or unknown key")


class KeyScopeError(RequestError):
    """The key is known and may not do this; `scope` is what it lacks."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"the key lacks the scope {scope}")
        self.scope = scope


class QueueFullError(RequestError):
    """As many calls run and wait as may; `retry_after_s` is when another may expect its turn."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the queue is full for {retry_after_s:.3f} s")
        self.retry_after_s = retry_after_s


class RateLimitError(RequestError):
    """The key made its calls already; `retry_after_s` is when it may make the next."""

    def __init__(self, limit: str, retry_after_s: float) -> None:
        super().__init__(f"more than {limit}")
        self.limit = limit
        self.retry_after_s = retry_after_s


class DeadlineError(SightwardError):
    """The caller's own deadline, or the server's, passed before there was an answer."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not within {timeout_s} s")
        self.timeout_s = timeout_s


class BodyTimeoutError(RequestError):
    """The body did not arrive in the time that this service waits for one."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no whole body within {timeout_s} s")
        self.timeout_s = timeout_s


class EngineStartingError(EngineUnavailableError):
    """The engine is still loading; the same request will be answered in a while."""


class EngineRestartingError(EngineUnavailableError):
    """The engine died and is being started again; the same request will be answered in a while."""


class DrainingError(SightwardError):
    """The server is stopping: it finishes what it has and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class CacheUnavailableError(SightwardError):
    """The store of known scores can't be reached: the same work is done without it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the cache is not available: {reason}")
        self.reason = reason


class SettingsError(SightwardError):
    """The environment or the command line can't be taken; `problems` are for the operator."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class MatcherUnavailableError(EngineUnavailableError):
    """A picture could not be held against known material; `matcher` is the one that failed."""

    def __init__(self, matcher: str) -> None:
        super().__init__(f"the matcher {matcher} failed")
        self.matcher = matcher


class AuditLogError(SightwardError):
    """The audit log could not be written or read; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoAuditLogError(RequestError):
    """Reviews were asked for on a server that keeps no audit log."""

    def __init__(self) -> None:
        super().__init__("no audit log is kept")


class UnknownReviewError(RequestError):
    """No verdict that waits, or waited, for a review has this id."""

    def __init__(self, review_id: str) -> None:
        super().__init__(f"no review {review_id!r}", param="id")
        self.review_id = review_id


class InputNotJudgedError(RequestError):
    """An input could not be judged, and the policy makes that an error."""

    def __init__(self) -> None:
        super().__init__("the model gave no usable answer")


class NoBatchesError(RequestError):
    """No folder is configured in which batches would be kept."""

    def __init__(self) -> None:
        super().__init__("this server takes no batches")


class UnknownBatchError(RequestError):
    """There is no such batch, or it is another tenant's."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"no batch {batch_id}")


class BatchContentTypeError(ContentTypeError):
    """A batch that is neither JSON lines nor a form."""


class BatchLinesError(RequestError):
    """A batch has more lines than are taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} lines")
        self.limit = limit


class BatchesAtOnceError(RequestError):
    """A tenant has as many unfinished batches as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} batches are not done yet")
        self.limit = limit


class BatchStorageError(SightwardError):
    """The folder of batches is full or can't be used; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BatchEndedError(RequestError):
    """A batch that has ended was to be cancelled."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the batch is {status}")
        self.status = status


class BatchNotEndedError(RequestError):
    """A batch that is being worked on was to be deleted."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the batch is {status}")
        self.status = status


class UnknownHostedModelError(RequestError):
    """No model of this name is hosted here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no model {name!r}", param="name")
        self.name = name


class ModelNotAllowedError(RequestError):
    """An administrator named a model that the operator did not allow to be loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the model {name!r} may not be loaded", param="model")
        self.name = name


class ModelConflictError(RequestError):
    """The models as they are now don't allow what was asked; `problem` is a clause of ours."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class ModelUnfitError(RequestError):
    """A model that can't be served here; `reason` is for whoever wants to load it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
