"""Serves a faasd daemon's metrics, and nothing else, on a port of this machine.

Prometheus cannot scrape a Unix socket. A plain forwarder such as socat would open the whole API to
everybody who reaches the port; this answers `GET /metrics` alone.

    python metrics_proxy.py --socket /run/faasd/faasd.sock --listen 127.0.0.1:9469
"""

import argparse
import http.server

from faasd.client import Client
from faasd.errors import FaasdError


def handler_for(socket_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/metrics":
                self.answer(404, "only /metrics is here\n")
                return
            try:
                self.answer(200, Client(socket=socket_path).text("/metrics"))
            except FaasdError as error:
                self.answer(502, f"{error}\n")

        def answer(self, status, text):
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass  # A scrape every half minute is no news.

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--socket", default="/run/faasd/faasd.sock", help="the daemon's socket")
    parser.add_argument("--listen", default="127.0.0.1:9469", help="address and port")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    handler = handler_for(options.socket)
    with http.server.ThreadingHTTPServer((host, int(port)), handler) as server:
        print(f"listening on {host}:{server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
