"""A small HTTP service around a real transformer: POST /generate continues a text, GET /healthz says it is ready.

usage: python -m backends.examples.serve_transformer [--warm-up N] [--port N]
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from backends.examples.adam import Adam
from backends.examples.corpus import stdlib_text
from backends.examples.train_transformer import LENGTH, SAMPLES, loss_on
from backends.examples.transformer import ByteTransformer
from backends.runtime import session
from backends.runtime.data_parallel import DataParallel, batch_indices

MAX_TOKENS = 64
MAX_BODY_BYTES = 64 * 1024


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="serve a byte-level transformer")
    parser.add_argument("--warm-up", type=int, default=30, help="steps of training before it serves")
    parser.add_argument("--port", type=int, default=8000, help="where dualtrack gives no port")
    return parser.parse_args(argv)


def trained_model(steps: int) -> ByteTransformer:
    """A model that has seen a little of the standard library: every replica makes the same one."""
    torch.manual_seed(0)
    model = ByteTransformer(length=LENGTH)
    trainer = DataParallel(model, Adam(model.parameters(), lr=3e-3))
    loss_function = loss_on(stdlib_text(), "cpu")
    for step in range(steps):
        trainer.step(loss_function, batch_indices(step, 12, SAMPLES))
    model.eval()
    return model


class Generator:
    """One model, one request at a time: a device serves them in turn."""

    def __init__(self, model: ByteTransformer) -> None:
        self._model = model
        self._turn = threading.Lock()
        self.came = self.answered = 0

    def continue_text(self, prompt: str, tokens: int) -> str:
        """`tokens` more bytes, each the likeliest one that is a letter or sign."""
        self.came += 1
        context = list(prompt.encode()[-LENGTH:]) or [10]
        first = len(context)
        with self._turn, torch.no_grad():
            for _ in range(tokens):
                logits = self._model(torch.tensor([context[-LENGTH:]]))[0, -1]
                logits[:9] = logits[127:] = float("-inf")
                context.append(int(logits.argmax()))
            self.answered += 1
        return bytes(context[first:]).decode("ascii")


class Handler(BaseHTTPRequestHandler):
    generator: Generator

    def do_GET(self) -> None:
        known = self.path == "/healthz"
        self._answer(200 if known else 404, {"ready": True} if known else {"error": "not found"})

    def do_POST(self) -> None:
        if self.path != "/generate":
            self._answer(404, {"error": "not found"})
            return
        try:
            asked = json.loads(self.rfile.read(min(MAX_BODY_BYTES, int(self.headers.get("Content-Length", "0")))))
            prompt, tokens = str(asked["prompt"]), max(1, min(MAX_TOKENS, int(asked.get("tokens", 16))))
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"error": 'send {"prompt": TEXT, "tokens": NUMBER}'})
            return
        self._answer(200, {"text": self.generator.continue_text(prompt, tokens)})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted, not logged."""


def serve(run: session.Run, port: int, generator: Generator) -> None:
    """Answer until the notice comes; what is under way is finished."""
    handler = type("BoundHandler", (Handler,), {"generator": generator})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2})
        thread.start()
        run.ready()
        while not run.notified:
            time.sleep(0.1)
            run.progress(generator.answered, came=generator.came)
        server.shutdown()
        thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    torch.set_num_threads(1)
    run = session.join()
    generator = Generator(trained_model(args.warm_up))
    serve(run, run.service_port or args.port, generator)
    sys.stdout.write(f"replica {run.replica} answered {generator.answered} requests\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
