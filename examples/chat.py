"""The chat of README.md: run it, and open http://127.0.0.1:8080/?name=ann in several windows."""

import contextlib
import http.server
from http.cookies import SimpleCookie

import carillon

PAGE = """<!doctype html><meta charset="utf-8"><title>Chat</title>
<ul id="talk"></ul><form><input name="text"></form><p>Here: <output id="here"></output></p>
<script>
document.cookie = "name=" + (new URLSearchParams(location.search).get("name") ?? "guest");
const add = line => talk.append(Object.assign(document.createElement("li"), { textContent: line }));
const source = new EventSource("http://127.0.0.1:8000/sse?channel=chat&last=20", { withCredentials: true });
source.onmessage = event => { const { from, text } = JSON.parse(event.data).data; add(`${from}: ${text}`); };
source.addEventListener("status", event => {
  if (JSON.parse(event.data).recovered === false) add("(messages lost)");
});
document.forms[0].onsubmit = event => {
  fetch("/say", { method: "POST", body: event.target.text.value });
  event.target.reset();
  return false;
};
setInterval(async () => { here.value = await (await fetch("/here")).text(); }, 500);
</script>"""

hub = carillon.Server(
    port=8000,
    api_key="change me",  # with a key, clients may do only what the channels allow
    allowed_origins=["http://127.0.0.1:8080"],
    channels={"chat": carillon.Channel(allow_subscribe_for_client=True)},
)


@hub.on_connect
def identify(context):  # in production: take the user from your session
    return context.cookies.get("name") or carillon.Deny(4501, "log in first")


class Web(http.server.BaseHTTPRequestHandler):  # your web server, whatever it is
    def do_GET(self):
        users = {each.user for each in hub.presence("chat").values()}
        self.reply(", ".join(sorted(users)) if self.path == "/here" else PAGE)

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        hub.publish("chat", {"from": SimpleCookie(self.headers["Cookie"])["name"].value, "text": text})
        self.reply("")

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode())


with hub, contextlib.suppress(KeyboardInterrupt):
    http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Web).serve_forever()
