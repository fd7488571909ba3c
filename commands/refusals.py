"""What the handler itself refuses, whatever the command."""

from domain.refusal import Refusal, RefusalKind


class CommandContended(Refusal):
    """Others kept changing the same thing; read it again and repeat the request."""

    code = "contended"


class IdempotencyKeyReused(Refusal):
    """This Idempotency-Key belongs to a different request."""

    code = "idempotency_key_reused"
    kind = RefusalKind.UNACCEPTABLE


class VersionMismatch(Refusal):
    """The thing has changed since the version that the request names."""

    code = "version_mismatch"
    kind = RefusalKind.STALE
