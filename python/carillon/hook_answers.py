"""What hooks answer, and the verdicts that the core gets of it."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - get_type_hints() of an application reads it
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .arguments import shown, text
from .hook_contexts import Context, SubRefreshContext, SubscribeContext
from .payload import encode, json_text

if TYPE_CHECKING:
    from .hook_contexts import Operation

_FAR_S = 1e11  # the year 5138: a time beyond it was given in milliseconds
_REASON_BYTES = 123  # what a WebSocket close frame has room for


@dataclass(frozen=True, slots=True)
class Deny:
    """The answer no, with the code and the reason that the client gets.

    Attributes:
        code: 100 to 1999 answers the command with this error code. 3500 to 3999 or 4500 to 4999 closes the
            connection with this code, and the client does not reconnect. 0 stands for the usual code: error
            103 for subscribe, publish and rpc, close code 3507 for connect and 3005 for refresh, and for
            sub_refresh code 2501 of the subscription. Over SSE and polls the HTTP status is 401 (connect) or
            403 (subscribe), and the code is in the body.
        reason: Text for the client, at most 123 bytes of UTF-8. Empty stands for "permission denied".

    Raises:
        TypeError: The code is not an int, or the reason is not a str.
        ValueError: The code is not one of these, or the reason is too long.

    Example:
        return Deny(reason="members only")
    """

    code: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.code, int):
            raise TypeError(
                f"Deny: code={self.code!r}: the code must be an int; write Deny(reason=...) for a text"
            )
        if not isinstance(self.reason, str):
            raise TypeError(f"Deny: reason={self.reason!r}: the reason must be a str")
        if not (self.code == 0 or 100 <= self.code <= 1999 or _is_final(self.code)):
            raise ValueError(f"Deny: code={self.code}: {_wrong_code(self.code)}")
        if len(self.reason.encode()) > _REASON_BYTES:
            raise ValueError(
                f"Deny: the reason has {len(self.reason.encode())} bytes; a close frame has room for "
                f"{_REASON_BYTES}. Shorten it: {self.reason[:40]!r}..."
            )


def _is_final(code: int) -> bool:
    """Whether a client that was closed with this code stays away."""
    return 3500 <= code <= 3999 or 4500 <= code <= 4999


def _wrong_code(code: int) -> str:
    if 3000 <= code <= 4499:
        return (
            "clients reconnect at once after a close with this code, for ever. Use 4500 to 4999 (or 3500 to "
            "3999) to refuse, or raise an exception to let the client try again later"
        )
    return (
        "not a code for a denial. Use 0 for the usual one, 100 to 1999 for an error, or 4500 to 4999 "
        "(or 3500 to 3999) to close the connection"
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """A subscription that is granted: one of `User.subscriptions`, or an answer of `on_subscribe`.

    Attributes:
        channel: Name of the channel.
        info: Any JSON value that others see beside the client's own, in presence, in joins and in
            publications of this channel. None for nothing.
        data: Any JSON value for the client, with the subscription. None for nothing.
        expires_at: Time at which the subscription ends, seconds since 1970 (as `time.time()`), unless
            `on_sub_refresh` moves it. None for no end.

    Raises:
        TypeError: The channel is not a str, a value has no JSON form, or `expires_at` is not a number.
        ValueError: The channel is empty, a value has no JSON form, or `expires_at` is not a time in seconds.

    Example:
        return User("ann", subscriptions=["news", Grant("chat:7", info={"role": "host"})])
    """

    channel: str
    info: Any = None
    data: Any = None
    expires_at: float | None = None

    def __post_init__(self) -> None:
        text("Grant: channel", self.channel)
        for name in ("info", "data"):
            value = getattr(self, name)
            try:
                _json_text(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Grant: {name}={shown(value)}: {error}") from None
        _check_end("Grant", self.expires_at)

    def _for_core(self) -> tuple[str, str, str, int]:
        return (self.channel, optional_json(self.info), optional_json(self.data), _end(self.expires_at))


def _check_end(name: str, expires_at: object) -> None:
    if expires_at is None:
        return
    if isinstance(expires_at, bool) or not isinstance(expires_at, (int, float)):
        raise TypeError(
            f"{name}: expires_at={shown(expires_at)}: give seconds since 1970, such as time.time() + 3600"
        )
    if not 0 < expires_at < _FAR_S:
        raise ValueError(
            f"{name}: expires_at={expires_at}: is not a time in seconds since 1970; give a number such as "
            "time.time() + 3600"
        )


def _end(expires_at: float | None) -> int:
    return 0 if expires_at is None else max(1, int(expires_at))


@dataclass(frozen=True, slots=True)
class User:
    """The identity of a client, as an answer of `on_connect` and of `on_refresh`.

    Attributes:
        id: Id of the user; empty for an anonymous client.
        info: Any JSON value that other clients see in presence, in joins and in publications. None for
            nothing.
        expires_at: Time at which the connection expires, seconds since 1970 (as `time.time()`). Then
            `on_refresh` is asked whether it goes on. Without that hook it is closed with 3005; its client
            connects again, and `on_connect` is asked again. None for no end.
        subscriptions: Channels that the server subscribes the client to, each a name or a `Grant`. Clients
            of the SDKs get them with their connect. Plain event streams and polls have the channels of
            their URL instead. Where a token grants channels, a list takes away those that are not in it, and
            None takes away nothing.

    Raises:
        TypeError: The id is not a str, a subscription is neither a str nor a Grant, or the info has no JSON
            form.
        ValueError: The info has no JSON form, or `expires_at` is not a time in seconds.

    Example:
        return User("ann", info={"name": "Ann"})
    """

    id: str
    info: Any = None
    expires_at: float | None = None
    subscriptions: Sequence[str | Grant] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise TypeError(f"User: id={self.id!r}: the id must be a str; write User({str(self.id)!r})")
        try:
            _json_text(self.info)
        except (TypeError, ValueError) as error:
            raise type(error)(f"User: info={shown(self.info)}: {error}") from None
        _check_end("User", self.expires_at)
        if isinstance(self.subscriptions, str):
            raise TypeError(
                f"User: subscriptions={self.subscriptions!r}: give a list of channels, not a single str; "
                f"write [{self.subscriptions!r}]"
            )
        for one in self.subscriptions or ():
            if not isinstance(one, Grant):
                text("User: subscriptions: a channel", one)


ConnectAnswer: TypeAlias = bool | str | User | Deny | None
SubscribeAnswer: TypeAlias = bool | Grant | Deny | None
PublishAnswer: TypeAlias = Any  # bool, Deny, or the payload to publish instead
RefreshAnswer: TypeAlias = Literal[False] | User | Deny | None
SubRefreshAnswer: TypeAlias = Literal[False] | Grant | Deny | None
RpcAnswer: TypeAlias = Any  # Deny, or the reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """What goes back to the core, which reads these attributes. By default it denies."""

    is_allowed: bool = False
    user: str = ""
    info_json: str = ""
    data: bytes | None = None
    code: int = 0
    reason: str = ""
    is_undecided: bool = False
    expires_at: int = 0  # seconds since 1970; 0: never
    # Each with its channel, info and data as JSON, and its end in seconds since 1970 (0: never).
    subscriptions: Sequence[tuple[str, str, str, int]] | None = None
    grant: tuple[str, str, str, int] | None = None
    is_data_binary: bool = False


_DENIED = Verdict()
_ANSWERS: dict[Operation, str] = {
    "connect": "return the user's id, User(id, info) (with an empty id for an anonymous client), True, False "
    "or Deny(...)",
    "subscribe": "return True, False, Grant(...) of the context's channel or Deny(...)",
    "publish": "return True, False, Deny(...) or the payload to publish instead",
    "refresh": "return User(...) of the context's user with expires_at, False or Deny(...)",
    "sub_refresh": "return Grant(...) of the context's channel with expires_at, False or Deny(...)",
    "rpc": "return the reply, which has a JSON form or is bytes, or Deny(...)",
}


def verdict_of(operation: Operation, answer: Any, context: Context) -> Verdict:
    """Converts the answer of a hook.

    Raises:
        TypeError: The answer has no meaning for this question.
        ValueError: It has no JSON form.
    """
    user = context.user
    if isinstance(answer, Deny):
        return Verdict(code=answer.code, reason=answer.reason)
    if operation == "rpc":
        return _reply(answer, user)
    if answer is True and operation in ("connect", "subscribe", "publish"):
        return Verdict(True, user)
    if answer is False:
        return _DENIED
    if isinstance(context, (SubscribeContext, SubRefreshContext)) and isinstance(answer, Grant):
        if answer.channel != context.channel:
            raise TypeError(f"the question is about {context.channel!r}; grant that channel")
        return Verdict(True, user, grant=answer._for_core())
    if operation == "refresh" and isinstance(answer, User):
        if answer.id != user or answer.subscriptions is not None:
            raise TypeError("a refresh changes neither the user nor the subscriptions")
        return Verdict(True, user, optional_json(answer.info), expires_at=_end(answer.expires_at))
    if operation == "connect" and isinstance(answer, User):
        grants = [one if isinstance(one, Grant) else Grant(one) for one in answer.subscriptions or ()]
        return Verdict(
            True,
            answer.id,
            optional_json(answer.info),
            expires_at=_end(answer.expires_at),
            subscriptions=None if answer.subscriptions is None else [grant._for_core() for grant in grants],
        )
    if operation == "connect" and isinstance(answer, str) and answer:
        return Verdict(True, answer)
    if operation == "publish" and answer is not None:
        return Verdict(True, user, data=_json_text(answer))
    raise TypeError(_ANSWERS[operation])


def _reply(answer: Any, user: str) -> Verdict:
    try:
        payload, is_json = encode(answer)
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("data: ").removeprefix("the payload has no JSON form: ")
        raise type(error)(f"it has no JSON form: {reason}") from None
    return Verdict(True, user, data=bytes(payload), is_data_binary=not is_json)


def _json_text(value: Any) -> bytes:
    try:
        payload, is_json = encode(value)
        return bytes(payload) if is_json else json_text(payload)  # a buffer is to hold JSON text
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("data: ").removeprefix("the payload has no JSON form: ")
        raise type(error)(f"it has no JSON form: {reason}") from None


def optional_json(value: Any) -> str:
    """Returns the JSON text of a value, empty for None.

    Raises:
        TypeError, ValueError: It has no JSON form.
    """
    return "" if value is None else _json_text(value).decode()
