"""A stand-in for vLLM's server: it refuses broken requests with the statuses and words of vLLM, and answers others with "ok".

python vllm_server.py SOCKET
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

CONTEXT = 4096
BROKEN_STREAM = "break the stream"
"""A message after whose first token the request fails, as one that the engine finds out about too late."""


class Refused(Exception):
    """The request is refused with 400."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def address_string(self) -> str:
        """Return a name: a client of a Unix socket has no address."""
        return "client"

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer with the model."""
        self.reply(200, {"data": [{"id": "model", "max_model_len": CONTEXT}]})

    def do_POST(self) -> None:
        """Answer a request for tokens or a completion."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            text = rendered(request)
        except Refused as error:
            self.reply(
                400, {"error": {"message": str(error), "type": "BadRequestError", "param": None, "code": 400}}
            )
            return
        if self.path == "/tokenize":
            self.reply(200, {"count": len(text.split()) + 1, "tokens": [1], "max_model_len": CONTEXT})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        for index in range(request.get("n", 1)):
            self.event(
                {"choices": [{"index": index, "delta": {"content": "ok"}, "text": "ok"}], "usage": usage}
            )
            if BROKEN_STREAM in text:
                self.event(
                    {"error": {"message": "the request is broken", "type": "BadRequestError", "code": 400}}
                )
                return
            self.event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}], "usage": usage})

    def event(self, data: dict[str, Any]) -> None:
        """Send an event."""
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def reply(self, status: int, body: dict[str, Any]) -> None:
        """Send a whole answer."""
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def rendered(request: dict[str, Any]) -> str:
    """Return the text of a request, as a strict chat template renders it. Raises `Refused`."""
    if "messages" not in request:
        return str(request["prompt"])
    role = None
    for message in request["messages"]:
        if message["role"] == role and role in {"user", "assistant"}:
            raise Refused("Conversation roles must alternate user/assistant/user/assistant/...")
        role = message["role"]
        for call in message.get("tool_calls", ()):
            if not isinstance(json.loads(call["function"]["arguments"] or "{}"), dict):
                raise Refused("Can only get item pairs from a mapping.")
    return " ".join(str(message["content"]) for message in request["messages"])


class Server(ThreadingMixIn, UnixStreamServer):
    """A server on a Unix socket."""

    daemon_threads = True


if __name__ == "__main__":
    Server(sys.argv[1], Handler).serve_forever()
