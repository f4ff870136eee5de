"""FastAPI gives out tokens: run it, and open http://127.0.0.1:8080/?name=ann. Stop it with Ctrl-C.

The SDK gets a token for its WebSocket, and one for the private channel, by getToken. EventSource cannot send
a header, so it has a token in a cookie. It needs `pip install fastapi uvicorn`, and for the SDK
`npm ci --prefix tests/clients`; a page of your own takes the SDK from where it has its scripts.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import carillon
import uvicorn
from fastapi import Cookie, FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

SDK = Path(__file__).parents[1] / "tests/clients/node_modules/centrifuge/dist/centrifuge.js"
SECRET = "a long random text of 32 bytes or more"
LIFE_S = 300  # short, because a token cannot be called back

PAGE = """<!doctype html><meta charset="utf-8"><title>Tokens</title><script src="/centrifuge.js"></script>
<p>WebSocket: <output id="ws"></output></p><p>EventSource: <output id="sse"></output></p>
<p>Private: <output id="room"></output></p>
<script>
document.cookie = "name=" + (new URLSearchParams(location.search).get("name") ?? "guest");
const text = async path => (await fetch(path)).text();

const client = new Centrifuge("ws://127.0.0.1:8000/connection/websocket", { getToken: () => text("/token") });
client.newSubscription("time")
  .on("publication", ({ data }) => { ws.value = data; })
  .subscribe();
client.newSubscription("$room", { getToken: () => text("/token?channel=$room") })
  .on("publication", ({ data }) => { room.value = data; })
  .subscribe();
client.connect();

let since = "";  // the position behind the last event
const listen = async () => {
  await fetch("/cookie");
  const source = new EventSource("http://127.0.0.1:8000/sse?channel=time" + since, { withCredentials: true });
  source.onmessage = event => {
    since = `&since=${encodeURIComponent(event.lastEventId)}`;
    sse.value = JSON.parse(event.data).data;
  };
  source.addEventListener("status", event => {
    if (JSON.parse(event.data).code !== 3005) return;
    source.close();  // the token has expired: go on with a new one
    listen();
  });
};
listen();
</script>"""

hub = carillon.Server(
    port=8000,
    allowed_origins=["http://127.0.0.1:8080"],
    channels={
        "time": carillon.Channel(allow_subscribe_for_client=True, history_size=100, history_ttl="60s"),
        "$room": carillon.Channel(
            history_size=100, history_ttl="60s"
        ),  # private: only with a token of its own
    },
    config={"client": {"token": {"hmac_secret_key": SECRET, "cookie": "carillon_token"}}},
)


async def publish() -> None:
    """Publishes a number ten times a second, in place of what your application has to tell."""
    number = 0
    while True:
        number += 1
        for channel in ("time", "$room"):
            await hub.publish_async(channel, number)
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI):
    """Runs the hub in the process of the application."""
    async with hub, asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publish())
        yield
        task.cancel()


app = FastAPI(lifespan=lifespan)
Name = Annotated[str, Cookie()]  # in production: the user of your session


@app.get("/token", response_class=PlainTextResponse)
def token(name: Name, channel: str | None = None) -> str:
    """Gives out the token of a connection, or of a subscription. Check here who may have it."""
    return carillon.token(SECRET, name, channel=channel, expires=LIFE_S)


@app.get("/cookie", status_code=204)
def cookie(name: Name, response: Response) -> None:
    """Gives the browser a token that no script can read, which it sends to every port of this host."""
    made = carillon.token(SECRET, name, expires=LIFE_S)
    response.set_cookie("carillon_token", made, max_age=LIFE_S, httponly=True, samesite="strict")


@app.get("/centrifuge.js")
def sdk() -> FileResponse:
    """Sends the SDK."""
    return FileResponse(SDK)


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """Sends the page."""
    return PAGE


if __name__ == "__main__":
    uvicorn.run(app, port=8080, log_level="warning")
