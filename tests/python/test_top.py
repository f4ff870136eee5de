"""`carillon top`: the page of metrics, the figures in it, and the command as a user runs it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import httpx
import pytest
from carillon import Server
from carillon.cli.top_screen import Row, Terminal, in_bytes, in_thousands, in_time, screen
from carillon.metrics_page import Histogram, MalformedPage, histograms_of, merged, parse
from carillon.server_figures import Figures, Reading, figures_of, sum_of
from fake_servers import http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

COMMAND = [sys.executable, "-m", "carillon", "top"]
NOBODY = "http://127.0.0.1:1"
SHOW_CURSOR_AND_LEAVE = b"\x1b[?25h\x1b[?1049l"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "COLUMNS": "80", **environment},
        check=False,
    )


# The page.


def test_a_page_has_families_with_types_meanings_and_samples() -> None:
    families = parse(
        "# HELP a_total What \\\\ is\\ncounted.\n# TYPE a_total counter\n"
        'a_total{b="1",a="x"} 3\na_total 4.5e-1 1700000000000\n'
        "# a comment\n\n#EOF\n\tb NaN\n".replace("\tb", "b")
    )
    assert list(families) == ["a_total", "b"]
    family = families["a_total"]
    assert (family.kind, family.help) == ("counter", "What \\ is\ncounted.")
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ((("a", "x"), ("b", "1")), 3),
        ((), 0.45),
    ]
    assert families["b"].kind == "untyped"
    assert math.isnan(families["b"].samples[0].value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"a\\n", "a\\n"),
        (r"a\nb", "a\nb"),
        (r"\"}", '"}'),
        (r"\\", "\\"),
        ("a, b=c} 1", "a, b=c} 1"),
        ("é \t", "é \t"),
        ("", ""),
    ],
)
def test_escapes_and_braces_in_a_label_are_part_of_its_value(written: str, value: str) -> None:
    (sample,) = parse(f'm{{x="{written}",y="2",}} 1')["m"].samples
    assert sample.labels == (("x", value), ("y", "2"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("<html>", "expected NAME{"),
        ("m", "a number"),
        ("m 1_000", "a number"),
        ("m 1 2 3", "a number"),
        ("m{} x", "a number"),
        ('m{a="1" 1', "column 9: "),
        ('m{a="\\t"} 1', "column 3: expected LABEL"),
        ("m{a=1} 1", "column 3: "),
        ('m{a="1",a="2"} 1', "the label a is there twice"),
        ('ok{x="1"} 2', "the same name and labels"),
        ("# TYPE ok counter", "comes too late"),
        ("# TYPE m thing", "'thing' is not a type; expected one of counter, "),
        ("# HELP", "# HELP NAME TEXT"),
    ],
)
def test_a_malformed_line_is_named_with_what_is_expected(line: str, said: str) -> None:
    with pytest.raises(MalformedPage) as caught:
        parse(f'ok{{x="1"}} 1\n{line}\n')
    assert str(caught.value).startswith(f"line 2: {line!r}: ")
    assert said in str(caught.value)


def buckets(name: str, counts: Mapping[str, int], labels: str = "") -> str:
    lines = [f"# TYPE {name} histogram"]
    lines += [f'{name}_bucket{{{labels}le="{bound}"}} {count}' for bound, count in counts.items()]
    return "\n".join([*lines, f"{name}_sum 1", f"{name}_count {max(counts.values())}", ""])


def test_a_histogram_has_the_observations_of_each_bucket() -> None:
    text = buckets("h", {"0.1": 1, "1e-04": 0, "+Inf": 4}, 'shard="0",')
    ((labels, histogram),) = histograms_of(parse(text)["h"]).items()
    assert labels == (("shard", "0"),)
    assert histogram == Histogram((0.0001, 0.1, math.inf), (0, 1, 3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (buckets("h", {"0.1": 1}), 'le="+Inf" is missing'),
        (buckets("h", {"0.1": 2, "+Inf": 1}), "do not ascend"),
        ("# TYPE h histogram\nh_bucket 1\n", "no number in the label le"),
        ('# TYPE h histogram\nh_bucket{le="x"} 1\n', "no number in the label le"),
    ],
)
def test_buckets_that_do_not_belong_together_are_refused(text: str, said: str) -> None:
    with pytest.raises(MalformedPage, match=re.escape(said)):
        histograms_of(parse(text)["h"])


# Percentiles: 4 observations up to 1, 4 up to 3, 2 up to 5.


@pytest.mark.parametrize(
    ("share", "value"),
    [
        (0.2, 0.5),  # the 2nd of 4, between 0 and 1
        (0.4, 1.0),
        (0.5, 1.5),  # the 1st of 4, between 1 and 3
        (0.8, 3.0),
        (0.99, 4.9),  # 1.9 of 2, between 3 and 5
        (1.0, 5.0),
    ],
)
def test_percentiles_are_linear_within_a_bucket(share: float, value: float) -> None:
    histogram = Histogram((1, 3, 5, math.inf), (4, 4, 2, 0))
    assert histogram.quantile(share) == pytest.approx(value)


def test_percentiles_beyond_the_bounds_and_without_observations() -> None:
    assert Histogram((1, 3, math.inf), (1, 0, 9)).quantile(0.5) == 3
    assert Histogram((1, 3, math.inf), (0, 0, 0)).quantile(0.5) is None
    assert Histogram((math.inf,), (3,)).quantile(0.5) is None
    assert Histogram((1, 2, 3, math.inf), (0, 0, 2, 0)).quantile(0.5) == 2.5


def test_histograms_of_several_threads_are_one() -> None:
    bounds = (1.0, math.inf)
    assert merged([Histogram(bounds, (1, 2)), Histogram(bounds, (3, 4))]) == Histogram(bounds, (4, 6))
    assert merged([Histogram(bounds, (1, 2)), Histogram((2.0, math.inf), (3, 4))]) is None
    assert merged([]) is None


# Figures of an interval.


def page(text: str, at_s: float) -> Reading:
    return Reading(parse(f'carillon_info{{version="1"}} 1\n{text}'), at_s)


def test_rates_are_increases_per_second() -> None:
    name = "carillon_deliveries_total"
    first = page(f'{name}{{transport="sse"}} 10\n{name}{{transport="poll"}} 100', 5)
    second = page(
        f'{name}{{transport="sse"}} 16\n{name}{{transport="poll"}} 104\n{name}{{transport="new"}} 2', 7
    )
    assert figures_of(first).deliveries_per_s is None
    assert figures_of(second, first).deliveries_per_s == (6 + 4 + 2) / 2
    assert figures_of(second, first).publications_per_s is None, "the page does not have it"


def test_rates_of_a_server_that_was_restarted_count_from_0() -> None:
    def at(at_s: float, drops: int, counts: dict[str, int]) -> Reading:
        text = f'carillon_drops_total{{reason="trimmed"}} {drops}\n'
        return page(text + buckets("carillon_publish_to_socket_seconds", counts), at_s)

    before = at(0, 1000, {"1": 50, "2": 60, "+Inf": 60})
    after = at(2, 30, {"1": 0, "2": 70, "+Inf": 70})  # more in all than before, but fewer up to 1 s
    figures = figures_of(after, before)
    assert figures.drops_per_s == {"trimmed": 15}
    assert figures.publish_to_socket == Histogram((1, 2, math.inf), (0, 70, 0))
    later = at(3, 31, {"1": 1, "2": 71, "+Inf": 71})
    assert figures_of(later, after).drops_per_s == {"trimmed": 1}
    assert figures_of(later, after).publish_to_socket == Histogram((1, 2, math.inf), (1, 0, 0))


def test_a_page_of_another_program_or_without_numbers_is_refused() -> None:
    with pytest.raises(MalformedPage, match="carillon_info is missing"):
        figures_of(Reading(parse("node_load1 0.5"), 0))
    with pytest.raises(MalformedPage, match="carillon_channels: nan"):
        figures_of(page("carillon_channels NaN", 0))


STATE = """
carillon_clients{{transport="sse"}} {n}
carillon_subscriptions {n}
carillon_slowest_subscription_seconds {n}
carillon_store_up {up}
carillon_draining {draining}
carillon_error_budget_burn_rate{{objective="latency",window="5m"}} {n}
carillon_error_budget_remaining_ratio{{objective="latency"}} -{n}
"""


def state(n: int, *, up: int = 1, draining: int = 0) -> Figures:
    return figures_of(page(STATE.format(n=n, up=up, draining=draining), 0))


def test_a_sum_adds_and_takes_the_worst() -> None:
    both = sum_of([state(2, up=0), state(5, draining=1)])
    assert both.connections == {"sse": 7}
    assert both.subscriptions == 7
    assert both.channels is None
    assert both.slowest_seconds == 5
    assert (both.is_store_up, both.is_draining) == (False, True)
    assert both.burn_rates == {"latency": {"5m": 5}}
    assert both.budgets == {"latency": -5}


# The screen.


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (in_thousands, None, "-"),
        (in_thousands, 0, "0"),
        (in_thousands, 0.25, "0.2"),
        (in_thousands, 999, "999"),
        (in_thousands, 1234, "1.2k"),
        (in_thousands, 999_999, "1.0M"),
        (in_bytes, 12, "12 B"),
        (in_bytes, 999.9, "1.0 kB"),
        (in_bytes, 3_400_000, "3.4 MB"),
        (in_time, 0.00018, "180 µs"),
        (in_time, 0.0012, "1.2 ms"),
        (in_time, 0.9996, "1.0 s"),
        (in_time, 3.44, "3.4 s"),
        (in_time, 1500, "25 min"),
        (in_time, 90_000, "25 h"),
    ],
)
def test_values_are_for_people(function: Callable[[float | None], str], value: float, text: str) -> None:
    assert function(value) == text


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    rows = [
        Row("gateway-1.eu-west.example.com:9100", state(3)),
        Row("gateway-2.eu-west.example.com:9101", state(10**12, draining=1)),
        Row("gateway-3.eu-west.example.com:9102", failure="because\x1b[2J of\nsomething " * 9),
    ]
    lines = screen(rows, columns)
    assert max(map(len, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    if columns == 80:
        assert any(re.search(r"^gateway.*…\S*:9101 .* draining$", line) for line in lines)
    if columns == 200:
        assert any(line.startswith("gateway-2.eu-west.example.com:9101 ") for line in lines)


def test_a_screen_is_cut_to_the_height_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for height in (2, 10, 40):
        monkeypatch.setenv("LINES", str(height))
        with Terminal() as terminal:
            terminal.draw([Row("a:1", state(1)), Row("b:1", state(2))], "the foot")
        drawn = capsys.readouterr().out.partition("\x1b[H")[2].partition("\x1b[J")[0]
        lines = [line.removesuffix("\x1b[K") for line in drawn.split("\r\n")]
        assert len(lines) <= height
        assert lines[-1] == "the foot"
        whole = len(screen([Row("a:1", state(1)), Row("b:1", state(2))], 80))
        if height == 10:
            assert lines[-2] == f"({whole - 8} more lines: make the terminal higher)"
        if height == 40:
            assert len(lines) == whole + 1


# The command, with servers.


class Traffic:
    """Publishes to servers all the time, from a thread."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def _publish(self) -> None:
        while not self._is_over.wait(0.005):
            for server in self._servers:
                server.publish("news", {"n": 1})

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.fixture
def busy(carillon_server: Server) -> Iterator[Server]:
    """A server with two subscribers over two transports, and publications."""
    with (
        carillon.sync.connect(carillon_server.url) as one,
        carillon.sync.connect(carillon_server.url, transport="sse") as other,
        one.subscribe("news"),
        other.subscribe("news"),
        Traffic(carillon_server),
    ):
        yield carillon_server


def cells(text: str, title: str, name: str) -> dict[str, str]:
    """The row of a server in the table with this title, by the titles of the columns."""
    table = text[text.index(f"{title} ") :].split("\n\n")[0].splitlines()
    row = next(line for line in table[1:] if line.startswith(name))
    ends = [(word[0], word.end()) for word in re.finditer(r"\S+( p\d+)?", table[0][len(title) :])]
    begin, values = len(name), {}
    for word, end in ends:
        values[word] = row[begin : end + len(title)].strip()
        begin = end + len(title)
    return values


def named(server: Server) -> str:
    return server.url.removeprefix("http://")


def test_once_prints_the_figures_of_a_server(busy: Server) -> None:
    done = run(busy.url, "--once", "--interval", "300ms")
    assert (done.returncode, done.stderr) == (0, "")
    clients = cells(done.stdout, "clients", named(busy))
    assert (clients["connections"], clients["subscriptions"], clients["channels"]) == ("2", "2", "1")
    assert clients["state"] == "up"
    assert re.fullmatch(r"[\d.]+ MB", clients["memory"])
    deliveries = cells(done.stdout, "deliveries", named(busy))
    assert float(deliveries["deliveries/s"]) > 0
    assert float(deliveries["publications/s"]) > 0
    assert re.fullmatch(r"[\d.]+ (µs|ms|s)", deliveries["latency p50"])
    assert "connections: websocket 1, sse 1" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_a_terminal_one_screen_is_printed(busy: Server) -> None:
    done = run(f"{busy.url}/metrics", "--interval", "0.2", CARILLON_HTTP_API_KEY="k", LC_ALL="C")
    assert done.returncode == 0
    assert done.stdout.count("clients ") == 1


def test_characters_that_standard_output_lacks_are_replaced(busy: Server) -> None:
    done = run(busy.url, "--once", "--interval", "200ms", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d us", done.stdout)


def test_json_prints_an_object_per_interval_and_server(busy: Server) -> None:
    with subprocess.Popen(
        [*COMMAND, "--json", "--interval", "200ms", busy.url, NOBODY], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        told: list[dict[str, Any]] = [json.loads(process.stdout.readline()) for _ in range(4)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    assert [each["url"] for each in told] == [busy.url, NOBODY] * 2
    for each in told[::2]:
        assert each["connections"]["websocket"] == each["connections"]["sse"] == 1
        assert (each["subscriptions"], each["draining"], each["store_up"]) == (2, False, True)
        assert each["deliveries_per_s"] > 0
        assert 0 < each["publish_to_socket_seconds"]["p50"] <= each["publish_to_socket_seconds"]["p99"]
        assert each["interval_seconds"] > 0
        assert each["store_call_seconds"] is None
        assert each["error_budget_burn_rate"]["availability"]["5m"] == 0
    assert told[1]["error"] == "refused: nothing listens at this port"


def test_two_servers_have_rows_and_a_sum_and_the_store_its_latency(
    busy: Server, carillon_server_factory: Callable[..., Server], tmp_path: Path
) -> None:
    options = {"client": {"insecure": True}, "http_api": {"insecure": True}}
    other = carillon_server_factory(port=0, store=f"sqlite:{tmp_path}/a.db", config=options)
    with carillon.sync.connect(other.url) as client, client.subscribe("news"), Traffic(other):
        done = run(busy.url, other.url, NOBODY, "--once", "--interval", "300ms")
    assert done.returncode == 0
    assert cells(done.stdout, "clients", named(busy))["connections"] == "2"
    assert cells(done.stdout, "clients", named(other))["connections"] == "1"
    assert cells(done.stdout, "clients", "sum")["connections"] == "3"
    assert "connections: websocket 2, sse 1" in done.stdout
    assert cells(done.stdout, "slowest and loops", named(busy))["store p99"] == "-"
    assert re.fullmatch(
        r"[\d.]+ (µs|ms|s)", cells(done.stdout, "slowest and loops", named(other))["store p99"]
    )
    assert "127.0.0.1:1      refused: nothing listens at this port\n" in done.stdout


def test_a_server_that_needs_a_key(carillon_server_factory: Callable[..., Server]) -> None:
    server = carillon_server_factory(api_key="secret")
    without = run(server.url, "--once")
    assert (without.returncode, without.stdout) == (1, "")
    assert "401: the page needs the key of the HTTP API: give --api-key" in without.stderr
    wrong = run(server.url, "--once", "--api-key", "other")
    assert wrong.returncode == 1
    assert "401: the key is wrong: give the http_api.key of the server by --api-key" in wrong.stderr
    assert run(server.url, "--once", "--interval", "200ms", "--api-key", "secret").returncode == 0
    environment = {"CARILLON_HTTP_API_KEY": "secret\n"}
    assert run(server.url, "--once", "--interval", "200ms", **environment).returncode == 0


def test_a_server_without_metrics_at_this_address(carillon_server_factory: Callable[..., Server]) -> None:
    options: dict[str, Any] = {"client": {"insecure": True}, "http_api": {"insecure": True}}
    off = carillon_server_factory(port=0, config={**options, "prometheus": {"enabled": False}})
    assert "404: there are no metrics: prometheus.enabled is false" in run(off.url, "--once").stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        internal = free.getsockname()[1]
    elsewhere = carillon_server_factory(
        port=0, api_key="k", config={"http_server": {"internal_port": internal}}
    )
    assert "404: metrics are at http_server.internal_port" in run(elsewhere.url, "--once").stderr
    assert run(f"http://127.0.0.1:{internal}", "--once", "--interval", "200ms").returncode == 0
    assert "404: there are no metrics at /other" in run(f"{off.url}/other", "--once").stderr


async def test_what_is_not_a_page_of_metrics_is_told() -> None:
    html = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>"
    async with http_server(html) as web, http_server(None) as mute:
        command = [*COMMAND, web, mute, "--timeout", "300ms"]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        said = (await process.communicate())[1].decode()
    assert process.returncode == 1
    assert f"{web}: not a page of Carillon's metrics: line 1: '<html>': expected NAME{{" in said
    assert f"{mute}: timeout: no answer within 0.3 s (--timeout)" in said


def test_wrong_options_are_told_with_value_and_remedy() -> None:
    for arguments, said in (
        ((), "Missing argument 'URL...'"),
        (
            ("127.0.0.1:8000",),
            "'127.0.0.1:8000' is not the address of a server: write it as http://host:port",
        ),
        ((NOBODY, f"{NOBODY}/metrics"), f"'{NOBODY}/metrics' is there twice; give each server once"),
        (
            (NOBODY, "--interval", "often"),
            "--interval': 'often' is not a duration; write it as 500ms, 1s or 5m",
        ),
        ((NOBODY, "--interval", "0"), "--interval': '0' is out of range; give 100ms to 60m"),
        ((NOBODY, "--timeout", "nan"), "--timeout': 'nan' is out of range"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert said in " ".join(done.stderr.split())


# On a terminal.


class OnTerminal:
    """The command on a pseudo-terminal, and all that it wrote."""

    def __init__(self, *arguments: str, command: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        self.written = b""
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        )
        os.close(slave)

    def read_until(self, condition: Callable[[bytes], object], timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition(self.written):
            assert time.monotonic() < deadline, self.written
            if select.select([self._master], [], [], 0.1)[0]:
                self.written += os.read(self._master, 65536)

    def close(self) -> None:
        """Ends what a test that failed has left."""
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(20)

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
            while chunk := os.read(self._master, 65536):
                self.written += chunk
        os.close(self._master)
        assert self.process.stderr
        errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        return self.process.wait(20), errors


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., OnTerminal]]:
    opened: list[OnTerminal] = []

    def make(*arguments: str, command: Sequence[str] = COMMAND) -> OnTerminal:
        opened.append(OnTerminal(*arguments, command=command))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_is_redrawn_in_place_and_restored_by_ctrl_c(
    busy: Server, number: int, on_terminal: Callable[..., OnTerminal]
) -> None:
    terminal = on_terminal("--interval", "100ms", busy.url)
    terminal.read_until(lambda written: written.count(b"clients ") >= 3)
    assert terminal.end(number) == (130, "")
    written = terminal.written
    assert written.startswith(b"\x1b[?1049h\x1b[?25l")
    assert written.endswith(SHOW_CURSOR_AND_LEAVE)
    assert written.count(b"\x1b[?1049h") == written.count(b"\x1b[?1049l") == 1
    for drawn in written.split(b"\x1b[H")[2:]:
        assert not drawn.split(b"\x1b[J")[0].endswith(b"\n"), "a last newline would scroll"


def test_a_terminal_goes_on_when_a_server_comes_and_goes(
    busy: Server, carillon_server_factory: Callable[..., Server], on_terminal: Callable[..., OnTerminal]
) -> None:
    other = carillon_server_factory()
    terminal = on_terminal("--interval", "100ms", busy.url, other.url)
    terminal.read_until(lambda written: b"2 of 2 answered" in written)
    other.stop()
    terminal.read_until(lambda written: b"1 of 2 answered" in written)
    terminal.read_until(lambda written: b"refused: nothing listens at this port" in written)
    assert terminal.end(signal.SIGINT)[0] == 130
    assert terminal.written.endswith(SHOW_CURSOR_AND_LEAVE)


def test_an_error_of_the_command_restores_the_terminal(
    carillon_server: Server, on_terminal: Callable[..., OnTerminal]
) -> None:
    code = """
import sys
from carillon.cli import main, top_screen
drawn = []
def screen(*_):
    drawn.append(1)
    if len(drawn) == 2:
        raise OSError(5, "planted")
    return ["first"]
top_screen.screen = screen
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", code, "top"]
    terminal = on_terminal("--interval", "100ms", carillon_server.url, command=command)
    terminal.read_until(lambda written: b"first" in written)
    assert terminal.end(0) == (1, "Error: planted\n")
    assert terminal.written.endswith(SHOW_CURSOR_AND_LEAVE)


def test_ctrl_z_gives_the_terminal_back_until_the_command_continues(
    busy: Server, on_terminal: Callable[..., OnTerminal]
) -> None:
    terminal = on_terminal("--interval", "100ms", busy.url)
    terminal.read_until(lambda written: b"clients " in written)
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.read_until(lambda written: written.endswith(SHOW_CURSOR_AND_LEAVE))
    assert os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT) is not None
    terminal.process.send_signal(signal.SIGCONT)
    terminal.read_until(lambda written: written.count(b"\x1b[?1049h") == 2)
    assert terminal.end(signal.SIGINT)[0] == 130
    assert terminal.written.endswith(SHOW_CURSOR_AND_LEAVE)


def test_ctrl_c_ends_it_while_a_server_does_not_answer(on_terminal: Callable[..., OnTerminal]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        terminal = on_terminal(f"http://127.0.0.1:{mute.getsockname()[1]}")
        connection, _ = mute.accept()
        assert terminal.end(signal.SIGINT) == (130, "")
        assert b"\x1b" not in terminal.written, "nothing was drawn"
        connection.close()


def test_the_page_of_a_server_is_read_as_a_whole(busy: Server) -> None:
    text = httpx.get(f"{busy.url}/metrics").text
    families = parse(text)
    samples = sum(len(family.samples) for family in families.values())
    assert samples == sum(not line.startswith("#") for line in text.splitlines())
    assert {family.kind for family in families.values()} == {"counter", "gauge", "histogram"}
    figures = figures_of(Reading(families, 0)).to_dict()
    assert figures["connections"]["sse"] == 1
    missing = [name for name, value in figures.items() if value is None]
    assert all("per_s" in name or name.endswith(("_seconds", "cpu_cores")) for name in missing), missing
