"""Publishers at a stated rate: each publication goes to a gateway of the fleet until it is acknowledged.

A channel has one publisher, whose publications are numbered 1, 2, 3 …. The first that an error or an ended
process leaves without an answer is repeated with its idempotency key, at the next gateway. So its number must
be its offset, or it is twice in the log.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

ANSWER_S = 15.0
PAUSE_S = 0.05


@dataclass
class Publishing:
    """What was published.

    Attributes:
        tops: Number of acknowledged publications by channel.
        repeated: Times that a publication was sent again.
        wrong: Answers whose offset was not the number.
        slowest_s: Longest time from the first attempt to the acknowledgement.
    """

    tops: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    wrong: int = 0
    slowest_s: float = 0.0
    errors: list[str] = field(default_factory=list)


async def publish(
    ports: list[int], channels: list[str], rate_per_s: float, is_over: asyncio.Event, run_id: str
) -> Publishing:
    """Publishes to all channels in turn until it is over, and waits for the last acknowledgements."""
    result = Publishing(tops=dict.fromkeys(channels, 0))
    period_s = len(channels) / rate_per_s
    begin_s = time.monotonic()
    await asyncio.gather(
        *(
            _channel(ports, number, channel, begin_s + number / rate_per_s, period_s, is_over, run_id, result)
            for number, channel in enumerate(channels)
        )
    )
    return result


async def _channel(
    ports: list[int],
    number: int,
    channel: str,
    due_s: float,
    period_s: float,
    is_over: asyncio.Event,
    run_id: str,
    result: Publishing,
) -> None:
    at = number
    link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while not is_over.is_set():
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        due_s = max(due_s + period_s, time.monotonic() - 5)
        n = result.tops[channel] + 1
        body = {"channel": channel, "data": {"n": n, "at": time.monotonic_ns()}}
        text = json.dumps({**body, "idempotency_key": f"{run_id}-{channel}-{n}"})
        first_s = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    if link is None:
                        link = await asyncio.open_connection("127.0.0.1", ports[at % len(ports)])
                    answer = await _post(*link, text)
                offset = json.loads(answer)["result"]["offset"]
                break
            except (OSError, TimeoutError, ValueError, KeyError, asyncio.IncompleteReadError) as error:
                if len(result.errors) < 10:
                    result.errors.append(f"{type(error).__name__}: {error}")
                result.repeated += 1
                at += 1
                if link is not None:
                    link[1].close()
                link = None
                await asyncio.sleep(PAUSE_S)
        if offset != n:
            result.wrong += 1
        result.slowest_s = max(result.slowest_s, time.monotonic() - first_s)
        result.tops[channel] = n
    if link is not None:
        link[1].close()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> bytes:
    head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = int(head.partition("content-length:")[2].split("\r\n")[0])
    return await reader.readexactly(size)
