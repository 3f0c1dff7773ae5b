"""Ingredients of hostile requests: names, references, queries, headers and bodies."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from entrepot.api.routes import TABLE
from tests.fuzz.raw import Headers
from tests.wire.images import EMPTY, OCI_MANIFEST, encode, manifest

HEX: Final = b"0123456789abcdef" * 4
ESCAPES: Final = (
    b"..",
    b"../..",
    b"../../../../../../etc/passwd",
    b"%2e%2e",
    b"%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    b"..%2f..%2f..%2fwatched.txt",
    b"%252e%252e%252f",
    b"..%5c..%5c",
    b"..\\..\\",
    b"%c0%ae%c0%ae/",
    b"/etc/passwd",
    b"//etc/passwd",
    b"%2fetc%2fpasswd",
    b"./.",
    b"watched.txt",
    b"file:///etc/passwd",
)
ODDITIES: Final = (
    b"",
    b"%",
    b"%2",
    b"%zz",
    b"%00",
    b"a%00b",
    b"%0d%0aX-Injected:%20yes",
    b"%0a",
    b"%7f",
    b"%ff%fe",
    b"%C3%A9",
    b"%F0%9F%98%80",
    b"\xc3\xa9",
    b"\xff\xfe",
    b"%20",
    b"+",
    b"'",
    b'"',
    b"';DROP%20TABLE%20tags;--",
    b"<script>",
    b"{}",
    b"${jndi:x}",
    b"$(id)",
    b"`id`",
    b"%s%s%n",
    b"@",
    b"a:b",
    b"a@sha256:" + HEX,
    b"null",
    b"-",
    b"_",
    b".",
    b"~",
    b"*",
    b";a=b",
    b"a" * 300,
    b"a/" * 200,
    b"%61" * 500,
    b"x" * 9000,
)
NAMES: Final = (b"fuzz/repo", b"a", b"UPPER", b"a//b", b"-a", b"a..b", b"_catalog", b"v2/v2")
DIGESTS: Final = (
    b"sha256:" + HEX,
    b"sha512:" + HEX * 2,
    b"sha256:" + HEX.upper(),
    b"sha256:" + HEX[:-1],
    b"sha256:",
    b":",
    b"md5:" + HEX[:32],
    b"sha256%3A" + HEX,
    b"sha256:../../../../../watched.txt",
    b"sha256:..%2f..%2f..%2fwatched.txt",
    b"sha256+b64:" + HEX,
)
TAGS: Final = (b"latest", b"v1", b".", b"..", b".hidden", b"a" * 128, b"a" * 129, b"sha256-" + HEX)
UPLOADS: Final = (
    b"00000000-0000-4000-8000-000000000000",
    b"00000000-0000-4000-8000-000000000000?_state=AAAA",
    b"00000000-0000-4000-8000-000000000000?_state=%00",
    b"00000000-0000-4000-8000-000000000000?_state=" + b"A" * 4000,
    b"..",
    b"..%2f..%2f..%2fwatched.txt",
    b"../../../../watched.txt",
    b"not-a-uuid",
    b"",
)
TEMPLATES: Final = (
    *sorted({route.path.encode() for route in TABLE}),
    b"/v2/{name}",
    b"/debug/health",
    b"/{name}",
)
"""Every route of the registry, and some paths that are none."""

METHODS: Final = (
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"PROPFIND",
    b"get",
    b"QUERY",
    b"M-SEARCH",
    b"X" * 40,
)
QUERIES: Final = (
    b"",
    b"?",
    b"?&&&",
    b"?=",
    b"?n=-1",
    b"?n=1&n=2",
    b"?n=99999999999999999999999999",
    b"?n=1e9",
    b"?n=%00",
    b"?n=1;last=2",
    b"?last=%00",
    b"?last=%ff%fe",
    b"?last=" + b"z" * 5000,
    b"?n=0&last=%F0%9F%98%80",
    b"?digest=",
    b"?digest=sha256:" + HEX,
    b"?digest=sha256:" + HEX + b"&digest=sha256:" + HEX[::-1],
    b"?digest=..%2f..%2fwatched.txt",
    b"?digest=%00",
    b"?digest-algorithm=..%2f",
    b"?mount=sha256:" + HEX,
    b"?mount=sha256:" + HEX + b"&from=..%2f..%2f",
    b"?mount=sha256:" + HEX + b"&from=%00",
    b"?mount=%ff&from=%ff",
    b"?artifactType=%00",
    b"?artifactType=" + b"a/" * 2000,
    b"?tag=..%2fwatched.txt",
    b"?tag=" + b"&tag=".join(b"t%d" % n for n in range(300)),
    b"?ns=..%2f",
    b"?%",
    b"?%zz=%zz",
    b"?" + b"&".join(b"p%d=%d" % (n, n) for n in range(1000)),
    b"#fragment",
    b"?\xff\xfe",
)
HEADERS: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"Range", b"bytes=0-18446744073709551616"),
    (b"Range", b"bytes=" + b"0-1," * 1000),
    (b"Range", b"bytes=-"),
    (b"Range", b"\xff"),
    (b"Content-Range", b"0-18446744073709551616"),
    (b"Content-Range", b"5-1"),
    (b"Content-Range", b"bytes */*"),
    (b"Content-Range", b"\xff"),
    (b"If-None-Match", b'"' * 50),
    (b"If-None-Match", b"*" * 5000),
    (b"If-None-Match", b"\xff"),
    (b"If-Match", b"*"),
    (b"If-Range", b'"x"'),
    (b"Accept", b"*/*;q=" + b"9" * 500),
    (b"Accept", b",".join(b"a/%d" % n for n in range(2000))),
    (b"Accept", b"\xff/\xfe"),
    (b"Accept-Encoding", b"gzip, br, \xff"),
    (b"Content-Type", b"application/" + b"x" * 5000),
    (b"Content-Type", b"\xff"),
    (b"Content-Type", b""),
    (b"Content-Type", b"multipart/form-data; boundary=x"),
    (b"Content-Encoding", b"gzip"),
    (b"Authorization", b"Basic !!!"),
    (b"Authorization", b"Basic " + b"QUFB" * 2000),
    (b"Authorization", b"Bearer \xff.\xff.\xff"),
    (b"Authorization", b"Digest"),
    (b"X-Forwarded-Proto", b"javascript"),
    (b"X-Forwarded-Host", b"evil.example\\@x, y"),
    (b"X-Forwarded-Host", b"\xff"),
    (b"X-Forwarded-For", b"999.999.999.999, \xff"),
    (b"X-Forwarded-Port", b"99999999"),
    (b"X-Forwarded-Prefix", b"/../../"),
    (b"Forwarded", b'for="[::1";proto=;host="a\\"b'),
    (b"Forwarded", b"\xff" * 100),
    (b"Host", b"evil.example"),
    (b"Host", b"a b"),
    (b"Host", b"[::1"),
    (b"Host", b"\xff"),
    (b"Cookie", b"a=" * 3000),
    (b"Expect", b"200-maybe"),
    (b"Upgrade", b"websocket"),
    (b"X-Request-Id", b"\xff" * 200),
    (b"traceparent", b"00-zz-zz-zz"),
    (b"Referer", b"\xff"),
    (b"User-Agent", b'"; \\ \xff \x1b[31m'),
    (b"X-Many", b"m" * 30_000),
)
MANIFEST: Final = manifest(EMPTY, []).data
BODIES: Final = (
    b"",
    b"",
    b"{}",
    b"[" * 5000,
    b"\x00" * 1000,
    b"\xff" * 1000,
    b"blablabla",
    MANIFEST,
    MANIFEST[:-5],
    MANIFEST.decode().encode("utf-16"),
    encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": None, "layers": None}),
    b'{"schemaVersion":2,"config":{"digest":"sha256:../../watched.txt","size":1e400}}',
)


def fields_of(template: bytes) -> list[bytes]:
    """The places of a route that hold what the client names."""
    return re.findall(rb"\{\w+\}", template)


def a_path(dice: random.Random) -> bytes:
    """A path made from a route, with some of its parts replaced by nonsense, and a query."""
    path = dice.choice(TEMPLATES)
    parts = {
        b"{name}": (*NAMES, *NAMES, *ESCAPES, *ODDITIES),
        b"{reference}": (*TAGS, *DIGESTS, *ESCAPES, *ODDITIES),
        b"{digest}": (*DIGESTS, *DIGESTS, *ESCAPES, *ODDITIES),
        b"{upload}": (*UPLOADS, *UPLOADS, *ESCAPES, *ODDITIES),
    }
    for part in fields_of(path):
        path = path.replace(part, dice.choice(parts.get(part, (*NAMES, *ODDITIES))))
    query = dice.choice(QUERIES) if dice.random() < 0.5 else b""
    if b"?" in path:
        query = query.replace(b"?", b"&", 1)
    return path.replace(b"/", b"//") + query if dice.random() < 0.03 else path + query


def some_headers(dice: random.Random) -> Headers:
    """Up to three headers; at most one of each name, or one twice."""
    chosen = dict(dice.choice(HEADERS) for _ in range(dice.randrange(4)))
    doubled = list(chosen.items())[: dice.random() < 0.1]
    return (*chosen.items(), *doubled)
