"""What the errors of object stores mean, and what to do about them."""

from __future__ import annotations

import re
from typing import NamedTuple

from chunkstore.errors import ChunkstoreError, StoreAccessError, StoreFullError, StoreIOError

#: What is known after a request has failed.
EXISTS, CHANGED, MISSING, UNCHANGED, UNSENT, DOUBTFUL, REFUSED = (
    "there is such an object",
    "it is another one by now",
    "there is none",
    "it is the same still",
    "it has not reached the server",
    "it may have been done",
    "the server refuses it",
)

_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9._-]{1,80})\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<\n]{1,300})")
_DENIED = {401, 403}
_FULL = {507}
_CONFLICT = 409
_TOO_MANY, _UNAVAILABLE = 429, 503
_OVERLOADED = {_TOO_MANY, _UNAVAILABLE}
#: A server that is there, but is asked for more than it does.
_TOO_FAST = ("SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded", "Throttling", "ThrottlingException")
#: Of these, the server may have done what it was asked for, or will if it is asked again.
_TRANSIENT = {408, 409, 425, 429, 499}
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired")
#: Said where there are no credentials, or none can be had from whoever gives them out.
NO_CREDENTIALS = "NoCredentials"
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "AccountNotFound")
_OTHER_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_CREDENTIALS = ("credential", "oauth", "token", "instance role", "service account")
#: Parts of the URLs of those who give credentials out: no request to the bucket has these.
_GIVES_CREDENTIALS = ("/latest/", "/metadata/identity", "/computeMetadata/", "oauth2", "/sts.", "sts.amazonaws")


class Failure(NamedTuple):
    """What an error of a request says.

    Attributes:
        outcome: what is known after it.
        status: of the server's answer; 0 without one.
        code: what the server calls it; may be empty.
        reason: the same for people, without any secret.
    """

    outcome: str
    status: int
    code: str
    reason: str

    @property
    def is_about_access(self) -> bool:
        """Whether other credentials, or other rights of theirs, would help."""
        return self.status in _DENIED or self.code in _EXPIRED or self.code == NO_CREDENTIALS

    @property
    def is_in_doubt(self) -> bool:
        """Whether what was to be changed may have been, or not."""
        return self.outcome == DOUBTFUL or (self.status == _CONFLICT and self.code != "BlobAlreadyExists")

    @property
    def is_too_fast(self) -> bool:
        """Whether the server tells us to come more slowly: it has done nothing then, as far as it can be believed."""
        return self.status == _TOO_MANY or (self.status == _UNAVAILABLE and self.code in _TOO_FAST)

    @property
    def may_pass(self) -> bool:
        """Whether the same request may go well a little later."""
        return self.outcome in (UNSENT, DOUBTFUL)

    def as_error(self, tried: str, location: str, *, may_be_there: bool = False) -> ChunkstoreError:
        """Return the error to raise.

        Args:
            tried: what was tried, on which object: `write RunLog.json of run a`.
            location: of the store.
            may_be_there: whether it may have been done all the same.
        """
        message = f"Cannot {tried} in {location}: {self.reason}. "
        if may_be_there:
            message += "What was to be written may be there all the same, or arrive yet. "
        if self.is_about_access:
            return StoreAccessError(message + self._about_access(), file=location, errno=13)
        if self.status in _FULL or self.code == "QuotaExceeded":
            return StoreFullError(message + "Make room, or raise the quota, and try again.", file=location, errno=28)
        return StoreIOError(message + self._advice(), file=location, errno=5)

    def _about_access(self) -> str:
        if self.code == NO_CREDENTIALS:
            return (
                "Give them as options (access_key_id=…), in the environment (AWS_ACCESS_KEY_ID, …) or as a profile; "
                "see the documentation of object stores."
            )
        if self.code in _EXPIRED or "expired" in self.reason or "time frame" in self.reason:
            return (
                "The credentials have expired: renew them where they come from, or open the store with new ones; "
                "then go on. What was recorded until now is kept."
            )
        return "Check the credentials, and what they may do: read, write, list and delete objects there."

    def _advice(self) -> str:
        if self.code in _NO_BUCKET:
            return "Create the bucket, or check its name and the endpoint."
        if self.code in _OTHER_REGION or self.status in (301, 307):
            return "The bucket is in another region: set the option `region`, and check the endpoint."
        if self.status in _OVERLOADED:
            return "The server is asked for more than it can do: try again later, or have fewer writers at once."
        if self.outcome == UNSENT:
            return "Check the network and the endpoint, and try again."
        return "Try again; if it stays so, see what the server logs of it."


def failure_of(error: BaseException) -> Failure:
    """Return what an exception of obstore says."""
    kind, text = type(error).__name__, str(error)
    status = int(found.group(1)) if (found := _STATUS.search(text)) else 0
    code = found.group(1) if (found := _CODE.search(text)) else ""
    if kind == "AlreadyExistsError":
        return Failure(EXISTS, status, code, "there is such an object")
    if kind in ("PreconditionError", "NotModifiedError"):
        outcome = UNCHANGED if kind == "NotModifiedError" else CHANGED
        return Failure(outcome, status, code, "it is not as it was")
    if isinstance(error, FileNotFoundError) and code not in _NO_BUCKET:
        return Failure(MISSING, status or 404, code, "there is no such object")
    if status:
        return _of_answer(status, code, text)
    return _without_answer(kind, text)


def _of_answer(status: int, code: str, text: str) -> Failure:
    said = found.group(1).strip().rstrip(".") if (found := _MESSAGE.search(text)) else ""
    words = ": ".join(filter(None, (f"the server answers {status} {code}".rstrip(), said)))
    # That a token has expired some servers say with 400: it is no good to try it again.
    outcome = DOUBTFUL if status >= 500 or status in _TRANSIENT else REFUSED  # noqa: PLR2004 - of HTTP
    return Failure(outcome, status, code, words)


def _without_answer(kind: str, text: str) -> Failure:
    start = text.partition("\n")[0]
    lower = start.lower()
    if "redirect" in lower:
        return Failure(REFUSED, 301, "PermanentRedirect", "the server sends us elsewhere")
    if kind in ("UnauthenticatedError", "PermissionDeniedError"):
        return Failure(REFUSED, 403, "", "the server denies it")
    asked = start.partition(" in ")[0]
    if any(part in asked for part in _GIVES_CREDENTIALS) or (
        "error performing" not in lower and any(word in lower for word in _CREDENTIALS)
    ):
        return Failure(UNSENT, 0, NO_CREDENTIALS, "there are no credentials that can be used")
    if kind != "GenericError":
        return Failure(REFUSED, 0, "", f"it is refused ({kind})")
    return _of_connection(text)


def _of_connection(text: str) -> Failure:
    if "BadScheme" in text:
        return Failure(REFUSED, 0, "", "a URL with http:// is only asked if the option `allow_http` is true")
    if "kind: Connect" in text:
        return Failure(UNSENT, 0, "", "the server cannot be reached")
    if "kind: Timeout" in text or "timed out" in text:
        return Failure(DOUBTFUL, 0, "", "the server did not answer in time")
    return Failure(DOUBTFUL, 0, "", "the connection broke")
