# SPDX-License-Identifier: Apache-2.0
"""Everything this library raises on purpose.

    AnyaError
    ├── ConfigError                     configuration refused
    ├── ApplyError                      a step of a plan failed and was undone
    ├── ModelNotFound                   no such name or version
    ├── ModelLoadError                  a version could not be loaded
    │   ├── ModelInvalid                verified bytes are no model we run
    │   └── TrustError                  everything before the bytes are verified
    │       ├── UnsafeFile              a link, a device, a path that leaves its folder
    │       ├── SignatureMissing
    │       ├── SignatureMalformed
    │       ├── SignatureInvalid
    │       ├── UntrustedKey
    │       ├── HashMismatch
    │       ├── FileMissing             signed, but not there
    │       ├── UnsignedFile            there, but not signed
    │       ├── Revoked
    │       ├── RegistryExpired
    │       └── RegistryRollback
    ├── InvalidInput (ValueError)       the request breaks a rule
    │   └── InputTooLarge
    ├── Overloaded                      refused by queue bound or admission      starts the fallback chain
    ├── DeadlineExceeded (TimeoutError) its time ran out, or cannot suffice
    ├── Cancelled                       by the caller
    ├── Unavailable                     closed, forked, breaker open             starts the fallback chain
    ├── ExecutionError                  the run failed               retryable,  starts the fallback chain
    │   └── ModelOutputInvalid          the answer breaks a rule                 starts the fallback chain
    └── OutOfMemory (MemoryError)       host or device               retryable,  starts the fallback chain

One class per value of the core's ErrorCode; `code` is its stable name.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AnyaError",
    "ApplyError",
    "Cancelled",
    "ConfigError",
    "DeadlineExceeded",
    "ExecutionError",
    "FileMissing",
    "HashMismatch",
    "InputTooLarge",
    "InvalidInput",
    "ModelInvalid",
    "ModelLoadError",
    "ModelNotFound",
    "ModelOutputInvalid",
    "OutOfMemory",
    "Overloaded",
    "RegistryExpired",
    "RegistryRollback",
    "Revoked",
    "SignatureInvalid",
    "SignatureMalformed",
    "SignatureMissing",
    "TrustError",
    "Unavailable",
    "UnsafeFile",
    "UnsignedFile",
    "UntrustedKey",
    "class_for",
]


_FACTS = ("field", "limit", "value", "index", "predicted_wait", "request_id")


class AnyaError(Exception):
    """The root of the tree.

    `message` may be any object whose `__str__` makes the sentence: a refusal on the hot path carries its facts and
    is only put into words when somebody reads it.

    Attributes:
        code: Stable upper-case name of the class; safe to log, count and compare.
        retryable: The same request may succeed when tried again at once.
        starts_fallback: A fallback chain goes on to its next link.
        field: What is at fault: an input's name, or the path of a configuration field.
        limit: What would have been allowed; seconds where it is a time.
        value: What was given; seconds where it is a time.
        index: The first element of the input or output at fault, counted in C order.
        predicted_wait: Seconds that the request would have waited or taken, where a refusal rests on that.
        request_id: The request's number, unique within the engine; None where there was no request yet.
        attempts: What an exhausted fallback chain tried, in order, each with its error.
    """

    code: ClassVar[str] = "ANYA_ERROR"
    retryable: ClassVar[bool] = False
    starts_fallback: ClassVar[bool] = False

    field: str | None
    limit: Any
    value: Any
    index: int | None
    predicted_wait: float | None
    request_id: int | None
    attempts: tuple[Any, ...]

    def __init__(
        self,
        message: object = "",
        *,
        field: str | None = None,
        limit: object = None,
        value: object = None,
        attempts: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(message)
        # Only what is given is stored: an error without facts needs no dictionary.
        if field is not None:
            self.field = field
        if limit is not None:
            self.limit = limit
        if value is not None:
            self.value = value
        if attempts:
            self.attempts = attempts

    def __getattr__(self, name: str) -> Any:
        # Comes here for what was not stored: the facts that the lazy sentence holds, or their absence.
        if name == "attempts":
            return ()
        if name in _FACTS:
            sentence = self.args[0] if self.args else ""
            return None if isinstance(sentence, str) else getattr(sentence, name, None)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The lazy sentence may hold what cannot travel; its words and its facts can.
        facts = {name: value for name in _FACTS if (value := getattr(self, name)) is not None}
        return type(self), (str(self),), {**facts, **self.__dict__} or None


class ConfigError(AnyaError):
    """The configuration was refused."""

    code = "CONFIG_ERROR"


class ApplyError(AnyaError):
    """A step of a plan failed; the steps before it were undone."""

    code = "APPLY_ERROR"


class ModelNotFound(AnyaError):
    """No such name or version is loaded."""

    code = "MODEL_NOT_FOUND"


class ModelLoadError(AnyaError):
    """A version could not be loaded; what served before still serves."""

    code = "MODEL_LOAD_ERROR"


class ModelInvalid(ModelLoadError):
    """The bytes are whole and trusted, but no model we run."""

    code = "MODEL_INVALID"


class TrustError(ModelLoadError):
    """Something is wrong before a model's bytes are verified; not one of them was parsed."""

    code = "TRUST_ERROR"


class UnsafeFile(TrustError):
    """A link, a device, or a path that leaves the model's folder."""

    code = "UNSAFE_FILE"


class SignatureMissing(TrustError):
    """A signature is required and there is none."""

    code = "SIGNATURE_MISSING"


class SignatureMalformed(TrustError):
    """The signature file cannot be read as one."""

    code = "SIGNATURE_MALFORMED"


class SignatureInvalid(TrustError):
    """The signature does not fit what it claims to sign."""

    code = "SIGNATURE_INVALID"


class UntrustedKey(TrustError):
    """Signed, but by no key on the list."""

    code = "UNTRUSTED_KEY"


class HashMismatch(TrustError):
    """A file's bytes are not those that were signed."""

    code = "HASH_MISMATCH"


class FileMissing(TrustError):
    """A signed file is not there."""

    code = "FILE_MISSING"


class UnsignedFile(TrustError):
    """A file is there that the signature does not cover."""

    code = "UNSIGNED_FILE"


class Revoked(TrustError):
    """The registry says that this model must no longer run."""

    code = "REVOKED"


class RegistryExpired(TrustError):
    """The registry is too old to be believed."""

    code = "REGISTRY_EXPIRED"


class RegistryRollback(TrustError):
    """The registry is older than one already seen."""

    code = "REGISTRY_ROLLBACK"


class InvalidInput(AnyaError, ValueError):
    """The request breaks a rule."""

    code = "INVALID_INPUT"


class InputTooLarge(InvalidInput):
    """The request's inputs are larger than allowed; they were not read."""

    code = "INPUT_TOO_LARGE"


class Overloaded(AnyaError):
    """Refused at the door: the queue is full, or holds more than it can serve in time.

    `value` is how many requests wait, `limit` the bound that refused this one (of their number; seconds where it is the
    queue's delay), `predicted_wait` how long it would have waited, in seconds.
    """

    code = "OVERLOADED"
    starts_fallback = True


class DeadlineExceeded(AnyaError, TimeoutError):
    """The request's time ran out, or cannot suffice.

    `value` is the timeout that ran out, in seconds. Where the time left cannot suffice, `value` (and `predicted_wait`)
    is what the answer was predicted to take and `limit` the time left; where a queue policy ended it, `value` is how
    long it has waited and `limit` what the policy allows.
    """

    code = "DEADLINE_EXCEEDED"


class Cancelled(AnyaError):
    """The caller cancelled the request."""

    code = "CANCELLED"


class Unavailable(AnyaError):
    """The engine is closed, this is a forked child, the breaker is open, or the model has failed."""

    code = "UNAVAILABLE"
    starts_fallback = True


class ExecutionError(AnyaError):
    """The run failed."""

    code = "EXECUTION_ERROR"
    retryable = True
    starts_fallback = True


class ModelOutputInvalid(ExecutionError):
    """The model's answer breaks a rule of its outputs; the same question would get the same answer."""

    code = "MODEL_OUTPUT_INVALID"
    retryable = False


class OutOfMemory(AnyaError, MemoryError):
    """The host or the device had no memory for the run."""

    code = "OUT_OF_MEMORY"
    retryable = True
    starts_fallback = True


def _tree(root: type[AnyaError]) -> dict[str, type[AnyaError]]:
    classes = {root.code: root}
    for child in root.__subclasses__():
        classes |= _tree(child)
    return classes


_CLASSES = _tree(AnyaError)


def class_for(code: str) -> type[AnyaError]:
    """Return the class of a code; `AnyaError` itself for one that is not known."""
    return _CLASSES.get(code, AnyaError)
