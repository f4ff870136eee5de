"""Members, inboxes, and the fan-out strategies of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar, get_args

from .arguments import kind, shown, text, whole_number
from .channel import channel_name
from .errors import from_core
from .items import Gap, Message
from .position import OFFSET_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from . import _core

P = ParamSpec("P")
T = TypeVar("T")

Strategy = Literal["write", "read", "hybrid", "adaptive"]
Mode = Literal["write", "read"]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""Names of the strategies.

- `write`: a publication is entered into every member's inbox at publish and sent to subscribers at once.
- `read`: inboxes are built when they are read, and subscribers are served at a fixed interval.
- `hybrid`: write up to a number of members, read above it.
- `adaptive`: as hybrid, with a threshold that follows the measured costs of both modes.
"""


@dataclass(frozen=True, slots=True)
class FanOut:
    """The fan-out of a channel at one moment.

    Attributes:
        strategy: One of `STRATEGIES`.
        mode: Mode of the next publication, `write` or `read`.
        threshold: Number of members, or of subscribers if there are more, above which "hybrid" and "adaptive"
            use read mode. For "adaptive" it changes over time.
        members: Number of users who belong to the channel.
        subscribers: Number of subscriptions now.
        switches: Number of times that the mode has changed.
    """

    strategy: Strategy
    mode: Mode
    threshold: int
    members: int
    subscribers: int
    switches: int = 0


@dataclass(frozen=True, slots=True)
class Inbox:
    """Unread publications of a user, across all channels that they are a member of.

    Attributes:
        items: The oldest unread publications, by time, within a channel by offset. A `Gap` stands for
            publications that left the history unread.
        unread: Number of unread publications by channel, including those beyond `items`.
        has_more: Whether there are more than `items`. To get the next ones, mark these as read and ask again.
        is_incomplete: Whether the user left more channels than the server remembers. The unread publications
            of the first ones they left are missing here.
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
    """The methods of a server for members, inboxes and strategies.

    Members are the users who belong to a channel, online or not. Each user has one inbox for all their
    channels. Only a channel that keeps a history can have members.
    """

    def _running(self) -> _core.Server:
        raise NotImplementedError

    def add_members(self, channel: str, users: Iterable[str]) -> int:
        """Makes users members of a channel and returns the number of its members.

        Publications from now on are unread for the new members. Existing members are left unchanged. The call
        releases the GIL and can take 50,000 users at once.

        Args:
            channel: Name of the channel.
            users: Ids of the users, at most `limits.members_per_request` (100,000).

        Raises:
            ValueError: The name of the channel is not valid, the channel keeps no history, an id is empty, or
                there are too many users.
            TypeError: `users` is not a list of str.
            StoreError: The store refused.
        """
        return asked(self._running().add_members, channel_name(channel), _listed(users))

    def remove_members(self, channel: str, users: Iterable[str]) -> int:
        """Ends memberships and returns the number of members that remain.

        Publications up to now that are unread stay in the users' inboxes.

        Args:
            channel: Name of the channel.
            users: Ids of the users, at most `limits.members_per_request` (100,000). Users who are not members
                are ignored.

        Raises:
            ValueError: The name of the channel is not valid, an id is empty, or there are too many users.
            TypeError: `users` is not a list of str.
            StoreError: The store refused.
        """
        return asked(self._running().remove_members, channel_name(channel), _listed(users))

    def members(self, channel: str, *, limit: int = 1000, after: str | None = None) -> list[str]:
        """Returns members of a channel, sorted by user id.

        Args:
            channel: Name of the channel.
            limit: Maximum number of members, at most `limits.members_per_request` (100,000); by default
                1,000.
            after: User id behind which the list starts: the last one of the page before. By default the list
                starts with the first member.

        Raises:
            ValueError: The name of the channel or the limit is not valid.
        """
        whole_number("limit", limit, 1)
        start = text("after", "" if after is None else after, may_be_empty=True)
        return asked(self._running().members, channel_name(channel), start, limit)

    def inbox(self, user: str, *, limit: int = 100) -> Inbox:
        """Returns the unread publications of a user, oldest first. `mark_read` marks them as read.

        Args:
            user: Id of the user.
            limit: Maximum number of items, at most `limits.inbox_items` (1,000); by default 100. 0 returns
                the counts only.

        Raises:
            ValueError: The user id is empty, or the limit is not valid.
            StoreError: The store cannot read the inbox.
        """
        whole_number("limit", limit, 0)
        items, unread, has_more, is_incomplete = asked(self._running().inbox, text("user", user), limit)
        return Inbox(
            [item if isinstance(item, Message) else Gap(*item) for item in items],
            unread,
            has_more,
            is_incomplete,
        )

    def unread(self, user: str) -> dict[str, int]:
        """Returns the number of unread publications by channel, without channels that have none.

        Args:
            user: Id of the user.

        Raises:
            ValueError: The user id is empty.
        """
        return asked(self._running().unread, text("user", user))

    def mark_read(self, user: str, channel: str, offset: int) -> None:
        """Marks the publications of a channel up to an offset as read by a user.

        A smaller offset than the last one has no effect.

        Args:
            user: Id of the user.
            channel: Name of the channel.
            offset: Offset of the last publication that was read.

        Raises:
            ValueError: The offset is above that of the newest publication, or a name is not valid.
        """
        whole_number("offset", offset, 0, OFFSET_MAX)
        asked(self._running().mark_read, text("user", user), channel_name(channel), offset)

    def set_fanout(self, channel: str, strategy: Strategy | None, *, threshold: int | None = None) -> None:
        """Changes the strategy of one channel while it is live. Nothing is lost, repeated or reordered.

        It replaces the setting of the configuration, from the next publication until the server stops.

        Args:
            channel: Name of the channel.
            strategy: One of `carillon.fanout.STRATEGIES`; None restores the setting of the configuration.
            threshold: Number of members above which "hybrid" and "adaptive" use read mode; by default that of
                the configuration.

        Raises:
            ValueError: The strategy is not known, or the name of the channel or the threshold is not valid.
        """
        if strategy is not None:
            text("strategy", strategy)
        if threshold is not None:
            whole_number("threshold", threshold, 1)
        name = channel_name(channel)
        asked(self._running().set_fan_out, name, strategy or "configured", threshold)

    def fanout(self, channel: str) -> FanOut:
        """Returns the strategy, the mode and the numbers of members and subscribers of a channel now.

        Args:
            channel: Name of the channel.

        Raises:
            ValueError: The name of the channel is not valid.
        """
        return FanOut(*asked(self._running().fan_out, channel_name(channel)))


def asked(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls the native module, and raises its errors in their public form."""
    try:
        return ask(*args, **kwargs)
    except Exception as error:
        raise from_core(error) from None


def _listed(users: Iterable[str]) -> list[str]:
    if isinstance(users, str):
        raise TypeError(f"users: {shown(users)} is one str; give a list of user ids")
    try:
        listed = list(users)
    except TypeError:
        raise TypeError(f"users: {shown(users)} is {kind(users)}; give a list of user ids") from None
    for index, user in enumerate(listed):
        if not (isinstance(user, str) and user and user.isascii()):  # there may be 100,000: most need no more
            text(f"users[{index}]", user)
    return listed
