"""What a good model would answer, and an endpoint that answers so, with faults, in a process of its own.

`python loopback.py LOG FAULTS`: prints its port; every request is a line of LOG. FAULTS: share of each fault, as JSON.
"""

import hashlib
import json
import re
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SILENT = 4.0  # seconds that a time-out lasts


def note(record: Any) -> dict[str, Any]:
    """What the annotator has noted in a record."""
    found: dict[str, Any] = record.provenance["annotation"]
    return found


def texts_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of each message, in either API."""
    found = []
    for message in body.get("messages") or body["input"]:
        content = message["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        found.append((message["role"], text))
    return found


def is_reflection(body: dict[str, Any]) -> bool:
    return any(role == "user" and "localization" in text for role, text in texts_of(body))


def is_repair(body: dict[str, Any]) -> bool:
    return "cannot be used" in texts_of(body)[-1][1]


def good(body: dict[str, Any], **changes: Any) -> str:
    """The JSON that was asked for."""
    said = texts_of(body)[1][1]
    category, boxes = re.search(r'"([^"]+)"', said), re.search(r"\[\[.*?\]\]", said)
    assert category and boxes, said
    reply: dict[str, Any] = {"category": category[1], "boxes": json.loads(boxes[0])}
    if is_reflection(body):
        reply |= {"detection": "Something is abnormal.", "localization": "It is bright and lies here: <region>."}
        reply["recognition"] = f"This indicates {category[1]}."
    else:
        reply["diagnosis"] = f"A bright {category[1]}."
    return json.dumps({**reply, **changes})


def answer(body: dict[str, Any], text: str, tokens: tuple[int, int] | None = (100, 50)) -> dict[str, Any]:
    """The body of an answer in the API of the request."""
    if "messages" in body:
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]} if tokens else {}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]} if tokens else {}
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return {"id": "x", "object": "response", "output": [{"type": "reasoning"}, item], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    """One request; its fault depends on its identity and how often it came, so a run can be repeated."""

    protocol_version = "HTTP/1.1"
    log, faults = Path(), dict[str, float]()
    lock, seen = threading.Lock(), Counter[str]()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, arrived = self.headers["Idempotency-Key"], time.time()
        with self.lock:
            self.seen[key] += 1
            dice = hashlib.sha256(f"{key}/{self.seen[key]}".encode()).digest()
        place, fault = int.from_bytes(dice[:4], "big") / 2**32, ""
        for name, share in self.faults.items():
            place -= share
            if place < 0:
                fault = name
                break
        status, reply, headers = 200, json.dumps(answer(body, good(body))), dict[str, str]()
        if fault == "429":
            status, reply, headers = 429, "{}", {"Retry-After": "0.05"} if dice[4] % 2 else {}
        elif fault == "500":
            status, reply = 500, "broken"
        elif fault == "garbage":
            parts = (answer(body, "I would rather not."), answer(body, good(body, category="something else")))
            reply = (json.dumps(parts[0]), json.dumps(parts[1]), '{"choices": [', "<html>")[dice[5] % 4]
        elif fault == "time-out":
            self._note(key, 0, arrived)
            time.sleep(SILENT)
            self.close_connection = True
            return
        self._note(key, status, arrived)  # before it is sent: what was sent is never missing
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(reply.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.encode())
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        reply = str(self.server.open).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
        self.close_connection = True

    def _note(self, key: str, status: int, arrived: float) -> None:
        line = {"key": key, "status": status, "arrived": arrived}
        with self.lock, self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """`GET /` tells how many connections are open."""

    request_queue_size = 128
    daemon_threads = True
    open, lock = 0, threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.open += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.lock:
            self.open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed


if __name__ == "__main__":
    Handler.log, Handler.faults = Path(sys.argv[1]), json.loads(sys.argv[2])
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
