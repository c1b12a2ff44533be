"""A chat server on this machine, for tests of teachers, that answers as a script says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.server import QuietHandler, serve

GOOD = "Reasoning: r\nExplicit: a; b\nImplicit: c; d"


@contextmanager
def serve_chat() -> Iterator[Any]:
    """Serves until the block ends.

    Yields:
        The server of ``tests.server``. Its ``requests`` are pairs of a body and headers; ``script`` is a function
        of a body and the number of requests so far that returns a status, a text and the reason of its end;
        ``models`` are the names it lists; ``most`` is the largest number of requests at a time.
    """
    with serve(Chat) as chat:
        chat.lock, chat.now, chat.most, chat.models = threading.Lock(), 0, 0, ["m"]
        chat.script = lambda body, number: (200, GOOD, "stop")
        yield chat


class Chat(QuietHandler):
    """Answers with what the server's ``script`` returns for a request: status, text and reason of its end."""

    def do_GET(self):
        self._send(
            200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]}
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            number = len(self.server.requests)
        try:
            status, text, finish = self.server.script(body, number)
        finally:
            with self.server.lock:
                self.server.now -= 1
        if status == "cut":  # half an answer
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "10000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
            return
        if status == "raw":
            self._send(200, text)
            return
        if status != 200:
            self._send(status, {"error": {"message": text}})
            return
        message = {"role": "assistant", "content": text}
        self._send(200, {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        })  # fmt: skip

    def _send(self, status, content):
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # of a client that was ended
            self.wfile.write(data)
