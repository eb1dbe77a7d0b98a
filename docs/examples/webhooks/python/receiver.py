"""Takes webhooks of Tandem: checks the signature over the body as it came, answers
at once, and works each event off once. Nothing but Python is needed (3.8 or later).

    WEBHOOK_SECRET=whsec_… python3 receiver.py 127.0.0.1:8090
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST = 1 << 20  # bytes of a body

seen = set()  # a real receiver keeps these in its database, for a few days
seen_lock = threading.Lock()


def verified(key, webhook_id, timestamp, signatures, body):
    """Several signatures may stand in the header while a secret is being rotated;
    one of them must be right."""
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(got.encode(), want.encode()) for got in signatures.split())


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key = b""

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST:
            self.close_connection = True
            return self.answer(400)
        body = self.rfile.read(int(length))
        webhook_id = self.headers.get("Webhook-Id", "")
        if not verified(self.key, webhook_id, self.headers.get("Webhook-Timestamp", ""),
                        self.headers.get("Webhook-Signature", ""), body):
            return self.answer(401)
        with seen_lock:
            first = webhook_id not in seen
            seen.add(webhook_id)
        if first:
            print("event", webhook_id, json.loads(body)["type"], flush=True)  # here: hand it to a queue of your own
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass  # the line of each request would hold nothing that helps


def main():
    secret = os.environ.get("WEBHOOK_SECRET", "")
    if not secret.startswith("whsec_") or len(sys.argv) != 2:
        sys.exit("usage: WEBHOOK_SECRET=whsec_… python3 receiver.py HOST:PORT")
    Receiver.key = base64.b64decode(secret[len("whsec_"):])
    host, port = sys.argv[1].rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Receiver)
    print("listening on", "%s:%d" % server.server_address[:2], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
