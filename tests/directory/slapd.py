"""Real OpenLDAP servers: started on free ports of 127.0.0.1, filled, and ended.

with slapd(tmp_path / "one") as server:
    server.add(PEOPLE)
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.certificates import Authority
from tests.clients.provide import path_of
from tests.servers import free_port, wait_until

SUFFIX: Final = "dc=example,dc=com"
ADMIN: Final = f"cn=admin,{SUFFIX}"
SECRET: Final = "secret"
PASSWORD: Final = "in: und wieder out"

PEOPLE: Final = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{SUFFIX}
objectClass: organizationalUnit
ou: groups

dn: uid=ada,ou=people,{SUFFIX}
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: L
mail: shared@example.com
userPassword: {PASSWORD}

dn: uid=bob,ou=people,{SUFFIX}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: shared@example.com
userPassword: {PASSWORD}

dn: uid=we\\2Cird \\28x\\29,ou=people,{SUFFIX}
objectClass: inetOrgPerson
uid: we,ird (x)
cn: Weird
sn: W
userPassword: {PASSWORD}

dn: uid=robot$ci,ou=people,{SUFFIX}
objectClass: inetOrgPerson
uid: robot$ci
cn: Robot
sn: R
userPassword: {PASSWORD}

dn: cn=team-a,ou=groups,{SUFFIX}
objectClass: groupOfNames
cn: team-a
member: uid=ada,ou=people,{SUFFIX}
member: uid=we\\2Cird \\28x\\29,ou=people,{SUFFIX}

dn: cn=teams,ou=groups,{SUFFIX}
objectClass: groupOfNames
cn: teams
member: cn=team-a,ou=groups,{SUFFIX}
member: cn=everybody,ou=groups,{SUFFIX}

dn: cn=everybody,ou=groups,{SUFFIX}
objectClass: groupOfNames
cn: everybody
member: cn=teams,ou=groups,{SUFFIX}

dn: cn=visitors,ou=people,{SUFFIX}
objectClass: groupOfNames
cn: visitors
member: uid=bob,ou=people,{SUFFIX}
"""
"""Ada is in team-a, which is in teams, which is in everybody, which is in teams again. Bob is in a
group that is not where groups are.
"""

_CONFIG: Final = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {folder}/slapd.pid
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
maxsize 67108864
suffix "{suffix}"
rootdn "{admin}"
rootpw {secret}
directory {folder}/db
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-memberof-ad memberOf
"""


class Slapd:
    """A server in `folder`; `stop` and `start` again leave its entries."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        folder.mkdir(parents=True)
        (folder / "db").mkdir()
        self._folder = folder
        self._port, self._tls_port = free_port(), free_port()
        self.url = f"ldap://127.0.0.1:{self._port}"
        self.tls_url = f"ldaps://127.0.0.1:{self._tls_port}"
        self.ca = authority.certificate
        self.process: subprocess.Popen[bytes] | None = None
        pair = authority.server(f"slapd-{folder.name}")
        (folder / "slapd.conf").write_text(
            _CONFIG.format(
                folder=folder,
                ca=self.ca,
                certificate=pair.certificate,
                key=pair.key,
                suffix=SUFFIX,
                admin=ADMIN,
                secret=SECRET,
            )
        )

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(path_of("slapd"), "-f", str(self._folder / "slapd.conf"), "-d", "0"),
                    *("-h", f"{self.url} {self.tls_url}"),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._listens, seconds=30, what=f"slapd at {self.url}")

    def stop(self) -> None:
        """End it at once, as a machine does that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Let it answer nothing, and hold its connections."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def add(self, entries: str) -> None:
        """Add entries (LDIF)."""
        self._run("ldapadd", entries)

    def _run(self, program: str, given: str) -> None:
        command = [path_of(program), "-x", "-H", self.url, "-D", ADMIN, "-w", SECRET]
        subprocess.run(command, input=given.encode(), check=True, capture_output=True, timeout=60)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._tls_port), timeout=1):
            return True
        return False


@contextmanager
def slapd(folder: Path, authority: Authority | None = None) -> Iterator[Slapd]:
    """A server with `PEOPLE`, whose certificate is the authority's, or one's of its own."""
    server = Slapd(folder, authority or Authority(folder.with_name(f"{folder.name}-ca")))
    try:
        server.start()
        server.add(PEOPLE)
        yield server
    finally:
        server.stop()
