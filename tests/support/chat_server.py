"""A server on the loopback interface that speaks OpenAI's API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(BaseHTTPRequestHandler):
    """Answers by the name of the model: what it says, how sure it is, or with an error.

    "says X" says X; "sure", "unsure" and others differ in their log-probabilities, which "no log-probabilities" does
    not send; "silent" has no text, "uncounted" counts no tokens; "limited" and "broken" are errors, and "slow" is late.
    """

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        model = body["model"]
        if model == "slow":
            time.sleep(0.5)
        if model in ("limited", "broken"):
            self.respond(429 if model == "limited" else 500, {"error": {"message": f"{model} today", "type": "x"}})
            return
        sure = {"unsure": -3.0, "sure": -0.01}.get(model, -0.5)
        tokens = [{"token": "Par", "logprob": sure, "bytes": None, "top_logprobs": []}] * 2
        said = model.removeprefix("says ") if model.startswith("says ") else " Paris \n"
        message: dict[str, Any] = {"role": "assistant", "content": None if model == "silent" else said}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        if body.get("logprobs") and model != "no log-probabilities":
            choice["logprobs"] = {"content": tokens, "refusal": None}
        usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        self.respond(200, answer if model == "uncounted" else {**answer, "usage": usage})

    def respond(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """Its address, as a client takes it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
