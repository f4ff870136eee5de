"""The answer of a language model, shown while it is written: reload the page in the middle, nothing is lost.

Each answer has a channel of its own. The page starts with the oldest token that is kept and goes on live.
Run it and open http://127.0.0.1:8080/; stop it with Ctrl-C.
"""

import argparse
import contextlib
import http.server
import secrets
import threading
import time
from collections.abc import Iterator

import carillon

ANSWER = (
    "A carillon is a set of at least 23 bells, tuned so that they can be played together. "
    "The player sits at a keyboard of wooden batons and strikes them with loosely closed fists. "
    "A wire leads from each baton to the clapper of one bell, up to some hundred kilograms of iron. "
    "The oldest carillons hang in the towers of Flanders, where they told the time to a whole town: "
    "a short melody before each hour, so that everybody listened when the hour was struck."
)

PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>Streamed answer</title>
<style>body { font: 1.2rem/1.6 system-ui, sans-serif; margin: 3rem; max-width: 40rem }</style>
<p id="answer"></p>
<p><small id="state">connecting</small> · <a href="/">ask again</a></p>
<script>
const answer = document.getElementById("answer"), state = document.getElementById("state");
const source = new EventSource("CARILLON/sse?channel=CHANNEL&since=oldest");
source.onmessage = event => {
  const { token, done } = JSON.parse(event.data).data;
  if (token) answer.append(token);
  if (done) { source.close(); state.textContent = "complete"; }
};
source.addEventListener("status", event => {
  state.textContent = "the model is writing";
  if (JSON.parse(event.data).recovered === false) answer.textContent = "(The beginning is not kept.) … ";
});
source.onerror = () => { state.textContent = "reconnecting"; };
</script>
"""


def tokens(pace: float) -> Iterator[str]:
    """The made-up model: a token each `pace` seconds."""
    for word in ANSWER.split(" "):
        yield word + " "
        time.sleep(pace)


def write_answer(hub: carillon.Server, channel: str, pace: float) -> None:
    """Publishes an answer, token by token, and its end."""
    for token in tokens(pace):
        hub.publish(channel, {"token": token})
    hub.publish(channel, {"done": True})


class Pages(http.server.BaseHTTPRequestHandler):
    """Your own web server: `/` asks the model, `/answers/ID` shows what it answers."""

    hub: carillon.Server
    pace: float

    def do_GET(self) -> None:
        """Sends a page, or the address of a new answer."""
        if self.path == "/":
            number = secrets.token_hex(4)
            answer = (self.hub, f"answer:{number}", self.pace)
            threading.Thread(target=write_answer, args=answer, daemon=True).start()
            self.send_response(303)
            self.send_header("Location", f"/answers/{number}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        channel = "answer:" + "".join(filter(str.isalnum, self.path.rpartition("/")[2]))
        body = PAGE.replace("CARILLON", self.hub.url).replace("CHANNEL", channel).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int, pace: float) -> None:
    """Serves the pages until Ctrl-C."""
    web = http.server.ThreadingHTTPServer(("127.0.0.1", port), Pages)
    origins = [f"http://127.0.0.1:{web.server_port}", f"http://localhost:{web.server_port}"]
    kept = {"answer:*": carillon.Channel(history_size=10_000, history_ttl_ms=600_000)}
    with carillon.Server(allowed_origins=origins, channels=kept) as hub:
        Pages.hub, Pages.pace = hub, pace
        print(f"open {origins[0]}/ (Ctrl-C stops)", flush=True)
        web.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A streamed answer that survives a reload.")
    arguments.add_argument("port", nargs="?", type=int, default=8080, help="port of the page")
    arguments.add_argument("--pace", type=float, default=0.15, help="seconds between two tokens")
    options = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(options.port, options.pace)
