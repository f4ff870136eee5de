"""uWebSockets, in PyPI `socketify`: its topics are channels, and its native code does the fan-out.

Speaks the raw protocol of cpp/load/web_dialects.hpp. Python runs once per publish, not per delivery.
"""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()


def on_message(connection, message, opcode) -> None:
    if message.startswith("s "):
        for channel in message[2:].split(" "):
            connection.subscribe(channel)
    else:
        _, channel, data = message.split(" ", 2)
        app.publish(channel, data, OpCode.TEXT)
    connection.send("ok", OpCode.TEXT)


app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 1024 * 1024,
        "max_backpressure": 64 * 1024 * 1024,
        "idle_timeout": 0,
        "message": on_message,
    },
)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _: None)
app.loop.uv_loop.run()  # its native loop alone: app.run() alternates with asyncio, and spins
