"""Signals, interpreter exit, fork, and handles that are used after what they belong to has gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import carillon
import pytest
from carillon import Server
from carillon.testing import cut

if TYPE_CHECKING:
    from collections.abc import Callable


EXIT_S = 10.0  # from the end of the program's own code to the end of its process, on a busy machine
RUNS = int(os.environ.get("LIFECYCLE_RUNS", "5"))  # how often a child is started: a race needs luck


class Program:
    """A Python program in a process of its own. Its first line of output says that it is ready."""

    def __init__(self, code: str, *arguments: str) -> None:
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        # Unbuffered: what readline() took beyond its line would be lost to communicate().
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline().decode().strip()

    def end(self, *signals: int) -> tuple[int, str, str]:
        """Sends signals and waits: exit code, the rest of its output, its errors."""
        began = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        try:
            output, errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert time.monotonic() - began < EXIT_S, errors.decode()
        return self.process.returncode, output.decode(), errors.decode()


# Signals.

WAITING = """
    import sys, threading, traceback
    import carillon
    from carillon.testing import wait_until

    def is_waiting():
        stack = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident])
        # Not that of threading, in which the start of this thread waits.
        return any(frame.name == "wait" and frame.filename.endswith("server.py") for frame in stack)

    def say():
        wait_until(is_waiting)
        print(server.url, flush=True)

    server = carillon.Server()
    server.on_subscribe("*")(lambda ctx: True)
    server.start()
    threading.Thread(target=say).start()
    server.wait()
"""


def test_ctrl_c_ends_a_wait_and_the_program_without_a_traceback() -> None:
    program = Program(WAITING)
    with carillon.sync.connect(program.first_line) as client, client.subscribe("c"):
        code, _, errors = program.end(signal.SIGINT)
    assert (code, errors) == (0, "")


def test_the_server_still_runs_after_a_wait_that_ctrl_c_has_ended() -> None:
    program = Program(WAITING + '    print(server.publish("c", 1).offset, server.is_running)')
    code, output, errors = program.end(signal.SIGINT)
    assert (code, output.split(), errors) == (0, ["1", "True"], "")


@pytest.mark.parametrize("what", ["server", "listener"])
def test_ctrl_c_ends_the_wait_for_a_drain(what: str) -> None:
    program = Program(
        """
        import socket, sys
        import carillon
        server = carillon.Server().start()
        stream = socket.create_connection(("127.0.0.1", server.port))
        stream.sendall(b"GET /sse?channel=c HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        stream.recv(9999)
        try:
            print("ready", flush=True)
            # Not by eval(): an interrupt that passes through it ends the process, though it is caught.
            (server.listeners[0] if sys.argv[1] == "listener" else server).drain(60, pace=60)
        except KeyboardInterrupt:
            print("interrupted", server.is_running)
        server.stop()
        """,
        what,
    )
    code, output, errors = program.end(signal.SIGINT)
    assert (code, output.split(), errors) == (0, ["interrupted", "True"], "")


def serving(*options: str) -> Program:
    code = "import sys; from carillon.cli import main; main(['serve', '--port', '0', *sys.argv[1:]])"
    program = Program(code, *options)
    program.first_line = next(word for word in program.first_line.split() if word.startswith("http://"))
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_serve_with_clients_on_it(number: int) -> None:
    program = serving()
    with carillon.sync.connect(program.first_line) as client, client.subscribe("machine") as subscription:
        subscription.next(timeout=5)
        code, _, errors = program.end(number)
    assert code == 0
    assert "Traceback" not in errors


def test_a_second_signal_does_not_wait_for_clients() -> None:
    program = serving("--shutdown-timeout", "60s")
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(carillon.connect(program.first_line).open())
    # The client's loop stands still: it will not leave when asked to.
    program.process.send_signal(signal.SIGINT)
    assert program.process.stderr is not None
    assert any(b"SIGINT: draining" in line for line in program.process.stderr)
    code, _, errors = program.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in errors
    loop.run_until_complete(client.aclose())
    loop.close()


# The end of the interpreter.

LIVE = """
    import asyncio, sys, threading, time
    import carillon

    server = carillon.Server(threads=2)

    @server.on_subscribe("*")
    async def decide(ctx):
        return True

    server.start()

    def publish_for_ever(n):
        while True:
            server.publish("c", n)
            server.publish_nowait("c", n)
            server.publish_many([("c", n), ("d", n)])

    if "clients" in sys.argv:
        clients = [carillon.sync.connect(server.url, transport=name).open() for name in ("ws", "sse", "poll")]
        subscriptions = [client.subscribe("c").open() for client in clients]
    if "publishers" in sys.argv:
        threading.excepthook = lambda args: None  # they end with ServerStopped
        for n in range(3):
            threading.Thread(target=publish_for_ever, args=(n,), daemon=True).start()
    if "watchers" in sys.argv:
        for call in (server.ledger, server.stats, server.connections):
            threading.Thread(target=lambda call=call: [None for _ in iter(call, None)], daemon=True).start()
    if "hooks" in sys.argv:
        # One that waits, and one that blocks its loop.
        asked = [threading.Event(), threading.Event()]
        hooked = carillon.Server()

        @hooked.on_subscribe("waits")
        async def wait(ctx):
            asked[0].set()
            await asyncio.sleep(60)

        @hooked.on_subscribe("blocks")
        def block(ctx):
            asked[1].set()
            time.sleep(60)

        hooked.start()
        client = carillon.sync.connect(hooked.url).open()
        for channel, event in zip(("waits", "blocks"), asked):
            threading.Thread(target=client.subscribe(channel).open, daemon=True).start()
            event.wait()
    print("ready", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [(), ("clients",), ("clients", "publishers"), ("watchers",), ("hooks",)], ids=" ".join
)
def test_the_interpreter_exits_with_a_live_server(what: tuple[str, ...]) -> None:
    for _ in range(3 if "hooks" in what else RUNS):
        program = Program(LIVE, *what)
        assert program.first_line == "ready"
        code, _, errors = program.end()
        assert code == 0, errors
        assert "Fatal" not in errors


def test_an_unhandled_error_ends_the_interpreter_as_usual() -> None:
    program = Program(LIVE + "\n    raise SystemExit(7)\n", "clients", "publishers")
    assert program.end()[0] == 7


# Handles that outlive.


async def test_every_call_on_a_stopped_server_raises_or_answers() -> None:
    server = Server().start()
    position = server.publish("c", 1)
    cursor = await server.subscribe("c").open()
    unopened = server.subscribe("c", since=position)
    client = await carillon.connect(server.url, open_timeout=0.5).open()
    server.stop()
    calls: list[Callable[[], Any]] = [
        lambda: server.publish("c", 1),
        lambda: server.publish_nowait("c", 1),
        lambda: server.publish_many([("c", 1)]),
        lambda: server.history("c"),
        lambda: server.history_remove("c"),
        lambda: server.presence("c"),
        lambda: server.channels(),
        lambda: server.connections(),
        lambda: server.disconnect("x"),
        lambda: server.cut("x"),
        lambda: cut(server, "x"),
        lambda: server.subscribe("c"),
        lambda: server.drain(1),
        lambda: server.wait(),
        lambda: server.start(),
    ]
    for call in calls:
        with pytest.raises(carillon.ServerStopped):
            call()
    for waiting in (server.publish_async("c", 1), cursor.next(5), unopened.next(5)):
        with pytest.raises(carillon.ServerStopped):
            await waiting
    with pytest.raises(carillon.ServerStopped):
        async for _ in unopened:
            pass
    assert server.ledger()["is_balanced"]
    assert server.stats()
    assert "stopped" in repr(server)
    assert "stopped" in server._repr_html_()
    await cursor.aclose()
    await client.aclose()


async def test_a_closed_subscription_says_so(carillon_server: Server) -> None:
    async with (
        carillon_server.subscribe("c") as cursor,
        carillon.connect(carillon_server.url) as client,
        client.subscribe("c") as subscription,
    ):
        carillon_server.publish("c", 1)
        await cursor.next(5)
        await subscription.next(5)
    for closed in (cursor, subscription):
        with pytest.raises(carillon.ConnectionClosed):
            await closed.next(5)
        assert [item async for item in closed] == []
        await closed.aclose()
        assert closed.position is not None
    with pytest.raises(carillon.CarillonError):
        await subscription.publish(1)
    with pytest.raises(carillon.CarillonError):
        client.subscribe("c")


def test_a_message_outlives_its_server() -> None:
    server = Server().start()
    server.publish("c", {"n": 1})
    (message,) = server.history("c").messages
    view = memoryview(message.data)
    server.stop()
    del server
    assert message.json() == {"n": 1}
    assert bytes(view) == message.data == b'{"n":1}'


def test_a_stop_under_load_hurts_nobody() -> None:
    for _ in range(RUNS):
        server = Server(threads=2).start()
        errors: list[BaseException] = []

        def use(server: Server = server, errors: list[BaseException] = errors) -> None:
            async def read() -> None:
                async for _ in server.subscribe("c"):
                    pass

            async def publish() -> None:
                while True:
                    await server.publish_async("c", 1)
                    server.publish_many([("c", 1), ("d", 2)])
                    server.publish_nowait("c", 2)
                    server.history("c", limit=2)
                    server.ledger()
                    server.connections()

            async def both() -> None:
                await asyncio.gather(read(), publish())

            try:
                asyncio.run(both())
            except carillon.ServerStopped:
                pass
            except BaseException as error:
                errors.append(error)

        users = [threading.Thread(target=use) for _ in range(3)]
        for user in users:
            user.start()
        while not server.channels():
            time.sleep(0.001)
        server.stop()
        for user in users:
            user.join(10)
        assert not any(user.is_alive() for user in users), "a call never came back"
        assert not errors
        assert server.ledger()["is_balanced"]


def test_stop_may_come_from_many_threads_at_once() -> None:
    server = Server().start()
    threads = [threading.Thread(target=server.stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert not server.is_running


# Fork.

FORKING = """
    import asyncio, os, sys, threading
    import carillon

    server = carillon.Server(threads=2)
    server.on_subscribe("*")(lambda ctx: True)
    server.start()
    client = carillon.sync.connect(server.url).open()
    subscription = client.subscribe("c").open()
    assert server.publish("c", 1).offset == 1
    assert subscription.next(5).offset == 1
    unused = carillon.sync.connect(server.url)
    cursor = server.subscribe("c")
    child = os.fork()
    if child == 0:
        calls = [
            lambda: client.publish("c", 1),
            lambda: client.history("c"),
            lambda: client.subscribe("d"),
            lambda: subscription.next(1),
            lambda: asyncio.run(cursor.next(1)),
            lambda: server.publish("c", 1),
            lambda: server.publish_nowait("c", 1),
            lambda: server.history("c"),
            lambda: server.subscribe("c"),
            lambda: server.ledger(),
            lambda: server.stats(),
            lambda: server.port,
            lambda: server.start(),
            lambda: server.wait(),
        ]
        for call in calls:
            try:
                call()
            except carillon.ForkedError:
                continue
            sys.exit(1)
        assert not server.is_running
        assert "another process" in repr(server)
        server.stop()
        subscription.close()
        client.close()
        unused.close()
        with carillon.Server(threads=1) as own, carillon.sync.connect(own.url) as own_client:
            own.publish("c", 1)
            assert len(own_client.history("c").messages) == 1
        sys.exit(0)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    assert server.publish("c", 2).offset == 2
    assert subscription.next(5).offset == 2
    print(len(server.connections()))
"""


def test_a_fork_leaves_the_parent_alone_and_its_child_ends_cleanly() -> None:
    for _ in range(3):
        program = Program(FORKING)
        code, output, errors = program.end()
        assert (program.first_line, output.strip(), code) == ("child 0", "1", 0), errors
        assert errors == ""


def test_a_worker_process_may_be_forked(carillon_server: Server) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0 if not carillon_server.is_running else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert carillon_server.publish("c", 1).offset == 1


# Loops.


async def test_all_of_it_works_in_a_cell_of_a_notebook() -> None:
    """In Jupyter a loop runs already: nothing may start another one, and nothing may hold it up for long."""
    server = Server()

    @server.on_subscribe("*")
    async def decide(ctx: carillon.SubscribeContext) -> bool:
        return True

    assert server.start() is server
    position = server.publish("c", 0)
    async with carillon.connect(server.url) as client, client.subscribe("c", position) as subscription:
        server.publish("c", 1)
        async for item in subscription:
            assert isinstance(item, carillon.Message)
            assert item.json() == 1
            break
        with carillon.sync.connect(server.url) as twin:
            assert twin.publish("c", 2) is None
        assert (await subscription.next(5)).position == server.history("c").position
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 5, "it waited for its clients"
    server = Server().start()  # the cell is run again
    server.stop()
