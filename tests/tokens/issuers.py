"""An issuer of tokens for jobs: a small server with a discovery document and real keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import Key, RSAKey

from tests.tokens.signing import claims_of, key_set, token_of

AUDIENCE = "https://registry.example"


class Issuer:
    """`pages` is what the server has, by path; `asked` the paths that were asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key: Key = RSAKey.generate_key(2048)
        self.asked: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.away = False
        self.publish(self.key)

    def publish(self, *keys: Key) -> None:
        found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        self.pages = {
            "/.well-known/openid-configuration": json.dumps(found).encode(),
            "/keys": key_set(*keys),
        }

    def token(self, *, key: Key | None = None, header: Any = None, **claims: Any) -> str:
        said = {"aud": AUDIENCE, "sub": "repo:acme/app:ref:refs/heads/main", **claims}
        said = claims_of(**{"iss": self.url, "access": None, **said})
        return token_of(said, key or self.key, alg="RS256", header=header or {"kid": "key-0"})


@contextmanager
def start_issuer() -> Iterator[Issuer]:
    """A running issuer on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            page = None if issuer.away else issuer.pages.get(self.path)
            self.send_response(503 if issuer.away else 200 if page is not None else 404)
            self.send_header("Content-Length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
