"""A page with live updates from a script: your web server on one port, Carillon on another.

Run it and open http://127.0.0.1:8080/ in two windows; stop it with Ctrl-C. Another port is its one argument.
"""

import argparse
import contextlib
import http.server
import random
import threading
import time

import carillon

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Oranges</title>
<style>body { font: 1.2rem/1.6 system-ui, sans-serif; margin: 3rem; color-scheme: light dark }</style>
<h1>Oranges in stock: <output id="stock">…</output></h1>
<p id="state">connecting</p>
<script>
const source = new EventSource("CARILLON/sse?channel=oranges");
source.onmessage = event => { document.getElementById("stock").value = JSON.parse(event.data).data.stock; };
source.onopen = () => { document.getElementById("state").textContent = "live"; };
source.onerror = () => { document.getElementById("state").textContent = "reconnecting"; };
</script>
"""


class Pages(http.server.BaseHTTPRequestHandler):
    """Your own web server, whatever it is."""

    hub: carillon.Server

    def do_GET(self) -> None:
        """Sends the page, which connects to the hub."""
        body = PAGE.replace("CARILLON", self.hub.url).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: int = 8080) -> None:
    """Serves the page, and publishes what it shows once a second."""
    web = http.server.ThreadingHTTPServer(("127.0.0.1", port), Pages)
    origins = [f"http://127.0.0.1:{web.server_port}", f"http://localhost:{web.server_port}"]
    with carillon.Server(allowed_origins=origins) as hub:
        Pages.hub = hub
        threading.Thread(target=web.serve_forever, daemon=True).start()
        print(f"open {origins[0]}/ (Ctrl-C stops)", flush=True)
        stock = 100
        while True:
            stock = max(0, stock + random.randint(-5, 5))
            hub.publish("oranges", {"stock": stock})
            time.sleep(1)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A page with live updates from a script.")
    arguments.add_argument("port", nargs="?", type=int, default=8080, help="of the page")
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.parse_args().port)
