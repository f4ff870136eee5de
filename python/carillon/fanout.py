"""Who does the work of a publication: members, inboxes and the strategies of a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar, get_args

from .errors import from_core
from .items import Gap, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from . import _core

P = ParamSpec("P")
T = TypeVar("T")

Strategy = Literal["write", "read", "hybrid", "adaptive"]
Mode = Literal["write", "read"]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""`write`: at publish, into every member's inbox and to subscribers at once. `read`: by whoever reads, and to
subscribers by a sweep. `hybrid`: write up to a threshold, read above it. `adaptive`: the same, with a
threshold that is moved by what both have cost."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """What the fan-out of a channel is like now.

    Attributes:
        strategy: One of `STRATEGIES`.
        mode: What the strategy means for the next publication, `write` or `read`.
        threshold: Above so many members, or subscribers if there are more, "hybrid" and "adaptive" read. Of
            an adaptive channel it moves.
        members: Users who belong to the channel.
        subscribers: Connections and readers on it now.
        switches: How often the mode has changed.
    """

    strategy: Strategy
    mode: Mode
    threshold: int
    members: int
    subscribers: int
    switches: int = 0


@dataclass(frozen=True, slots=True)
class Inbox:
    """What a user has not read, of all channels that they are a member of.

    Attributes:
        items: The oldest unread publications, by time, within a channel by offset. A `Gap` stands for
            publications that left the history unread.
        unread: How many publications of each channel are not read: all, also those beyond `items`.
        has_more: There is more than `items`: mark these read, and ask again.
        is_incomplete: The user left more channels than are remembered; what was unread in the oldest of them
            is not here.
    """

    items: list[Message | Gap]
    unread: dict[str, int]
    has_more: bool
    is_incomplete: bool = False

    @property
    def messages(self) -> list[Message]:
        """The items, all of which are messages.

        Raises:
            GapError: Publications left the history unread. `items` holds the messages and the gaps.
        """
        messages = []
        for item in self.items:
            if isinstance(item, Gap):
                item.raise_("Read items, which holds the messages and the gaps, or mark the gap as read")
            messages.append(item)
        return messages


class FanOutMethods:
    """What a server offers for members, inboxes and strategies.

    Members are the users who belong to a channel, online or not. Each has an inbox across all channels. Only
    a channel that keeps a history can have members.
    """

    def _running(self) -> _core.Server:
        raise NotImplementedError

    def add_members(self, channel: str, users: Iterable[str]) -> int:
        """Makes users members of a channel: what is published from now on is theirs to read.

        Who is one already stays one. The GIL is released meanwhile; 50,000 at once are fine.

        Args:
            channel: Which.
            users: Their ids, at most `limits.members_per_request` (100,000).

        Returns:
            How many members the channel has now.

        Raises:
            ValueError: The channel name is not valid or keeps no history; an id is empty, or they are too
                many.
            StoreError: The store refused.
        """
        return _asked(self._running().add_members, channel, _listed(users))

    def remove_members(self, channel: str, users: Iterable[str]) -> int:
        """Ends memberships. What was published until now and is not read stays in the users' inboxes.

        Args:
            channel: Which.
            users: Their ids, at most `limits.members_per_request` (100,000). Who is no member is passed over.

        Returns:
            How many members the channel has now.

        Raises:
            ValueError: The channel name is not valid, an id is empty, or they are too many.
            StoreError: The store refused.
        """
        return _asked(self._running().remove_members, channel, _listed(users))

    def members(self, channel: str, *, limit: int = 1000, after: str | None = None) -> list[str]:
        """Members of a channel, by name.

        Args:
            channel: Which.
            limit: How many at most, up to `limits.members_per_request` (100,000).
            after: Only those behind this one, the last of the page before.

        Raises:
            ValueError: The channel name or the limit is not valid.
        """
        return _asked(self._running().members, channel, after or "", limit)

    def inbox(self, user: str, *, limit: int = 100) -> Inbox:
        """What a user has not read, oldest first. Reading marks nothing as read: that is `mark_read`.

        Args:
            user: Whose.
            limit: Items at most, up to `limits.inbox_items` (1,000). 0 asks for the counts only.

        Raises:
            ValueError: The user is empty, or the limit is not valid.
            StoreError: The store could not give it.
        """
        items, unread, has_more, is_incomplete = _asked(self._running().inbox, user, limit)
        return Inbox(
            [item if isinstance(item, Message) else Gap(*item) for item in items],
            unread,
            has_more,
            is_incomplete,
        )

    def unread(self, user: str) -> dict[str, int]:
        """How many publications of each channel a user has not read; channels without any are left out.

        Raises:
            ValueError: The user is empty.
        """
        return _asked(self._running().unread, user)

    def mark_read(self, user: str, channel: str, offset: int) -> None:
        """Everything of the channel up to `offset` is read by the user. It never goes back.

        Raises:
            ValueError: The offset is above the newest publication, or a name is not valid.
        """
        if isinstance(offset, int) and offset < 0:
            raise ValueError(f"offset: {offset} is too small; the least is 0")
        _asked(self._running().mark_read, user, channel, offset)

    def set_fanout(self, channel: str, strategy: Strategy | None, *, threshold: int | None = None) -> None:
        """Another strategy for one channel, while it is live. Nothing is lost, repeated or reordered by it.

        It holds from the next publication on, until the server stops, in the place of what the configuration
        says.

        Args:
            channel: Which.
            strategy: One of `carillon.fanout.STRATEGIES`; None: what the configuration says, again.
            threshold: Members above which "hybrid" and "adaptive" read; by default that of the configuration.

        Raises:
            ValueError: The strategy is not known, or the channel name or the threshold is not valid.
        """
        _asked(self._running().set_fan_out, channel, strategy or "configured", threshold)

    def fanout(self, channel: str) -> FanOut:
        """What the fan-out of a channel is like now.

        Raises:
            ValueError: The channel name is not valid.
        """
        return FanOut(*_asked(self._running().fan_out, channel))


def _asked(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return ask(*args, **kwargs)
    except Exception as error:
        raise from_core(error) from None


def _listed(users: Iterable[str]) -> list[str]:
    if isinstance(users, str):
        raise TypeError(f"users: {users!r} is one text; give a list of user ids")
    listed = list(users)
    for index, user in enumerate(listed):
        if not isinstance(user, str):
            raise TypeError(f"users: {user!r} at index {index} is no text; give the ids of users, as str")
    return listed
