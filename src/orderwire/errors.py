"""Every refusal that reaches a person, as a tree. An error says what is wrong and what to do next.

Behind each name its HTTP status, and when it is raised:

    OrderwireError
    ├─ Malformed 400        not JSON, bad UTF-8, repeated keys
    ├─ Unauthorized 401     no key, unknown key, bad provider signature
    ├─ Forbidden 403        the key's role may not
    ├─ NotFound 404         also: belongs to another tenant
    ├─ Conflict 409         same id, other content; a lost race
    ├─ Gone 410             erased
    ├─ TooLarge 413
    ├─ UnsupportedMedia 415
    ├─ Invalid 422          names the fields at fault
    ├─ TooManyRequests 429  with Retry-After
    └─ Unavailable 503      full disk, lost database; with Retry-After
"""

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One field at fault: its path as in `events[1].type`, and what is wrong with it."""

    path: str
    message: str


class OrderwireError(Exception):
    """A refusal with an HTTP status (RFC 9457 problem details)."""

    status = 500
    title = "Internal error"
    slug = "internal"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = (), retry_after_s: int | None = None) -> None:
        """`detail` is one sentence for a person; `errors` names fields; `retry_after_s` where waiting helps."""
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s


class Malformed(OrderwireError):
    """The bytes are not what they claim to be."""

    status, title, slug = 400, "Malformed request", "malformed"


class Unauthorized(OrderwireError):
    """Nobody we know. The answer never says which part of the proof failed."""

    status, title, slug = 401, "Unauthorized", "unauthorized"


class Forbidden(OrderwireError):
    """Known, but not allowed."""

    status, title, slug = 403, "Forbidden", "forbidden"


class NotFound(OrderwireError):
    """Not there, or not yours: the answer is the same."""

    status, title, slug = 404, "Not found", "not-found"


class Conflict(OrderwireError):
    """It is there already and differs."""

    status, title, slug = 409, "Conflict", "conflict"


class Gone(OrderwireError):
    """It was erased on purpose."""

    status, title, slug = 410, "Gone", "gone"


class TooLarge(OrderwireError):
    """Over a documented limit."""

    status, title, slug = 413, "Too large", "too-large"


class UnsupportedMedia(OrderwireError):
    """A content type or encoding we do not take."""

    status, title, slug = 415, "Unsupported media type", "unsupported-media-type"


class Invalid(OrderwireError):
    """Well-formed, but a field breaks a rule."""

    status, title, slug = 422, "Invalid request", "invalid"

    @classmethod
    def field(cls, path: str, message: str) -> "Invalid":
        """The common case: one field."""
        return cls(f"{path}: {message}" if path else message, (FieldError(path, message),))


class TooManyRequests(OrderwireError):
    """Slow down."""

    status, title, slug = 429, "Too many requests", "too-many-requests"


class Unavailable(OrderwireError):
    """Not now. Nothing that was answered 2xx is lost; try again after `retry_after_s`."""

    status, title, slug = 503, "Unavailable", "unavailable"

    def __init__(self, detail: str, retry_after_s: int = 5) -> None:
        """Always with Retry-After, so that providers and clients come back."""
        super().__init__(detail, (), retry_after_s)
