"""Cookies (RFC 6265bis). On TLS their names begin with `__Host-`, so that no other host, such as
one below the same domain, can set them.
"""

from entrepot.api.http import Request

SESSION = "entrepot-session"


def cookie_name(name: str, *, secure: bool) -> str:
    """Return what a cookie of ours is called in a browser."""
    return f"__Host-{name}" if secure else name


def read_cookie(request: Request, name: str, *, secure: bool) -> str:
    """Return the value of a cookie of ours, empty if there is none or more than one."""
    wanted = cookie_name(name, secure=secure)
    found = []
    for key, line in request.headers:
        if key == b"cookie":  # HTTP/2 may send several lines
            for pair in line.decode("latin-1").split(";"):
                given, _, value = pair.strip(" ").partition("=")
                if given == wanted:
                    found.append(value)
    return found[0] if len(found) == 1 else ""


def set_cookie(name: str, value: str, *, secure: bool, seconds: float) -> tuple[bytes, bytes]:
    """Return the header that sets a cookie for some seconds; for none it removes it. `value` is of
    letters, digits and what else URLs' base64 has.
    """
    line = f"{cookie_name(name, secure=secure)}={value}; Path=/; Max-Age={int(seconds)}; HttpOnly"
    return b"set-cookie", f"{line}; SameSite=Lax{'; Secure' * secure}".encode("ascii")
