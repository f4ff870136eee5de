"""Server-sent events and JSON envelopes, read from bytes."""

from __future__ import annotations

import json
import random

import pytest
from carillon import ClientInfo
from carillon.transports import raw_json
from carillon.transports.backoff import Backoff
from carillon.transports.http_api import PresencePage, presence_pages
from carillon.transports.sse_parser import Event, EventParser


class Largest(random.Random):
    """Draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


STREAM = (
    "\ufeffretry: 2000\r\n\r\n: heartbeat\n\nid: e:1\nevent: pub\ndata: a\ndata:  b\n\n"
    "data\n\nid: bad\0id\nretry: 1x\nother\ndata:é\r\rid\ndata: z\n\ndata: cut off"
).encode()
EVENTS = [
    Event("pub", "a\n b", "e:1"),
    Event("message", "", "e:1"),
    Event("message", "é", "e:1"),
    Event("message", "z", ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    parser = EventParser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS
    assert parser.retry_ms == 2000


def test_an_event_without_end_is_refused() -> None:
    parser = EventParser(max_event_chars=100)
    with pytest.raises(ValueError, match="larger"):
        list(parser.feed(b"data: " + b"x" * 200))


@pytest.mark.parametrize(
    "text", ['{"n":1.10,"e":1e2, "s":"\\u00e9"}', "12345678901234567890.0", '" \\n"', "[ ]", "null"]
)
def test_a_payload_is_cut_out_byte_for_byte(text: str) -> None:
    envelope = f' {{ "push" : {{"channel":"c", "pub":{{"data" : {text} ,"offset":7}}}} }}'
    (_, value, start, _) = next(raw_json.members(envelope))
    assert value == json.loads(envelope)["push"]
    at = next(begin for name, _, begin, _ in raw_json.members(envelope, start) if name == "pub")
    message = raw_json.message(envelope, at, "c", "e")
    assert (message.data, message.is_json, message.offset, message.epoch) == (text.encode(), True, 7, "e")


def test_binary_comes_as_base64() -> None:
    assert raw_json.message('{"b64":"AAE=","offset":1}', 0, "c", "e").data == b"\x00\x01"
    of_websocket = raw_json.message('{"data":{"b64":"AAE="},"binary":true}', 0, "c", "e")
    assert (of_websocket.data, of_websocket.is_json, of_websocket.epoch) == (b"\x00\x01", False, "")
    object_of_the_application = raw_json.message('{"data":{"b64":"AAE="}}', 0, "c", "e")
    assert (object_of_the_application.data, object_of_the_application.is_json) == (b'{"b64":"AAE="}', True)


def test_elements_of_an_array() -> None:
    text = ' [ 1 , {"a":2},[3] ]'
    assert [text[start:end] for _, start, end in raw_json.elements(text)] == ["1", '{"a":2}', "[3]"]
    assert list(raw_json.elements("[]")) == []


@pytest.mark.parametrize("text", ["", "[", '{"a"', '{"a":1', '{"a":1,}', "{1:2}", '{"a":1 "b":2}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        list(raw_json.members(text))


def test_delays_are_spread_over_a_limit_that_grows() -> None:
    backoff = Backoff(1.0, 8.0, rng=Largest())
    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 8, 8]
    assert backoff.next_delay(at_least=30.0) == 38.0


def test_delays_begin_anew_only_after_a_connection_that_lived() -> None:
    now = [0.0]
    backoff = Backoff(1.0, 60.0, rng=Largest(), clock=lambda: now[0])
    delays = []
    for life_s in (0, 0, 4.9, 0, 5, 0):
        backoff.connected()
        now[0] += life_s / 2
        backoff.connected()  # each poll of a row says so
        now[0] += life_s / 2
        delays.append(backoff.next_delay())
    now[0] += 100  # without a connection
    assert [*delays, backoff.next_delay()] == [1, 2, 4, 8, 1, 2, 4]


def test_a_connection_need_not_live_longer_than_the_longest_delay() -> None:
    now = [0.0]
    backoff = Backoff(0.01, 0.1, rng=Largest(), clock=lambda: now[0])
    backoff.next_delay()
    backoff.connected()
    now[0] += 0.1
    assert backoff.next_delay() == 0.01


async def test_presence_is_asked_for_page_by_page() -> None:
    clients = [f"c{number}" for number in range(8)]
    asked: list[str] = []

    async def ask(request: str) -> PresencePage:
        asked.append(json.loads(request).get("after", ""))
        assert len(asked) <= 3
        page = [client for client in clients if client > asked[-1]][:3]
        return {client: ClientInfo(client, "", None) for client in page}, page[-1] != clients[-1]

    assert list(await presence_pages("a", ask)) == clients
    assert asked == ["", "c2", "c5"]
