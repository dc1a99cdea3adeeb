"""The machine behind the relays: PostgreSQL, a directory with a replica, and HAProxy in front of the relays."""

from collections.abc import Iterable
from pathlib import Path

from machines.machine import Machine
from machines.process import wait_until

PACKAGES = "postgresql slapd ldap-utils haproxy"
PASSWORD = "a password of the database"
BASE = "dc=example,dc=com"
ADMIN = f"cn=admin,{BASE}"
DIRECTORY_PASSWORD = "a password of the directory"
PORTS = {"smtp": (25, 10025), "submission": (587, 10588), "submissions": (465, 10465)}  # for clients, at the relays
LDAP = {"provider": 389, "replica": 1389}

_HAPROXY = """
global
    maxconn 2000
defaults
    mode tcp
    timeout connect 3s
    timeout client 330s
    timeout server 330s
    option redispatch
    retries 3
"""
_LISTEN = """
listen {name}
    bind :{port}
    balance leastconn
    default-server send-proxy-v2 check-send-proxy check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
"""

_DIRECTORY = """\
dn: cn=config
objectClass: olcGlobal
cn: config
olcServerID: 1
olcTLSCACertificateFile: {folder}/certificate.pem
olcTLSCertificateFile: {folder}/certificate.pem
olcTLSCertificateKeyFile: {folder}/key.pem

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: syncprov

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif
include: file:///etc/ldap/schema/smtpeter.ldif

dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{-1}}frontend

dn: olcDatabase=mdb,cn=config
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: {base}
olcRootDN: {admin}
olcRootPW: {password}
olcDbDirectory: {folder}/entries
olcDbIndex: objectClass,entryUUID,entryCSN,smtpeterName eq
olcAccess: to * by * none
{syncrepl}

dn: olcOverlay=syncprov,olcDatabase={{1}}mdb,cn=config
objectClass: olcSyncProvConfig
olcOverlay: syncprov
"""
_SYNCREPL = (
    'olcSyncrepl: rid=001 provider=ldap://127.0.0.1:389 bindmethod=simple binddn="{admin}" credentials="{password}"'
    ' searchbase="{base}" type=refreshAndPersist retry="1 +"'
)
_UNIT = """\
[Unit]
Description=directory of the tests: {name}
[Service]
ExecStart=/usr/sbin/slapd -d 0 -F {folder}/config -h ldap://0.0.0.0:{port}
[Install]
WantedBy=multi-user.target
"""


class Backend:
    """All of it on one machine, running; `certificate` and its key are for the directory."""

    def __init__(self, machine: Machine, root: Path, certificate: tuple[Path, Path]) -> None:
        self.machine = machine
        machine.run(
            f"apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install {PACKAGES}",
            timeout=400,
        )
        machine.run("systemctl stop slapd haproxy && systemctl mask slapd && systemctl disable haproxy")
        self._prepare_postgresql()
        machine.write("/etc/ldap/schema/smtpeter.ldif", (root / "policy/ldap/smtpeter.ldif").read_bytes())
        for name in LDAP:
            self._prepare_directory(name, certificate)

    def database(self, name: str) -> str:
        """The URL of a database, without its password."""
        return f"postgresql://smtpeter@{self.machine.address}/{name}"

    @property
    def directories(self) -> list[str]:
        """The URLs of the provider and of the replica."""
        return [f"ldap://{self.machine.address}:{port}" for port in LDAP.values()]

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement says, as lines of values with a bar between them."""
        return self.machine.run(f"runuser -u postgres -- psql -X -v ON_ERROR_STOP=1 -Atq {database}", stdin=statement).stdout

    def connections_of(self, address: str) -> set[str]:
        """The server's processes for connections from there."""
        listed = self.sql(f"SELECT pid, backend_start FROM pg_stat_activity WHERE client_addr = '{address}'")  # noqa: S608
        return set(listed.splitlines())

    def kill_postgresql(self) -> None:
        """SIGKILL to all of its processes, as when memory runs out."""
        self.machine.run("systemctl kill --signal=KILL --kill-whom=all postgresql@15-main; systemctl stop postgresql@15-main")

    def start_postgresql(self) -> None:
        """Starts it; it finds what was committed in its log."""
        self.machine.run("systemctl reset-failed postgresql@15-main; systemctl start postgresql@15-main")
        wait_until(lambda: self.machine.run("pg_isready -q", check=False).returncode == 0, "PostgreSQL answers", 60)

    def kill_directory(self, name: str) -> None:
        """SIGKILL to the provider or the replica."""
        self.machine.run(f"systemctl kill --signal=KILL directory-{name}; systemctl stop directory-{name}")

    def start_directory(self, name: str) -> None:
        """Starts it again."""
        self.machine.run(f"systemctl reset-failed directory-{name}; systemctl start directory-{name}")
        self._wait_for_directory(name)

    def balance(self, relays: Iterable[Machine]) -> None:
        """Has HAProxy hand connections to the relays, with the client's address in front (PROXY protocol 2)."""
        text = _HAPROXY
        for name, (port, at_relay) in PORTS.items():
            text += _LISTEN.format(name=name, port=port)
            text += "".join(f"    server {relay.name} {relay.address}:{at_relay}\n" for relay in relays)
        self.machine.write("/etc/haproxy/haproxy.cfg", text)
        self.machine.run("haproxy -c -q -f /etc/haproxy/haproxy.cfg && systemctl enable --now haproxy")

    def _prepare_postgresql(self) -> None:
        folder = "/etc/postgresql/15/main"
        self.machine.write(f"{folder}/conf.d/tests.conf", "listen_addresses = '*'\n")
        network = self.machine.address.rpartition(".")[0]
        self.machine.run(f"echo 'host all smtpeter {network}.0/24 scram-sha-256' >>{folder}/pg_hba.conf")
        self.machine.run("systemctl restart postgresql@15-main")
        self.sql(f"CREATE ROLE smtpeter LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE policy OWNER smtpeter;")
        self.sql("CREATE DATABASE journal OWNER smtpeter;")

    def _prepare_directory(self, name: str, certificate: tuple[Path, Path]) -> None:
        folder = f"/srv/directory/{name}"
        self.machine.run(f"mkdir -p {folder}/config {folder}/entries")
        for file, source in zip(("certificate.pem", "key.pem"), certificate, strict=True):
            self.machine.write(f"{folder}/{file}", source.read_bytes(), 0o600)
        words = {"folder": folder, "base": BASE, "admin": ADMIN, "password": DIRECTORY_PASSWORD}
        replica = _SYNCREPL.format(**words) if name == "replica" else "# it is written here"
        self.machine.run(f"slapadd -F {folder}/config -n 0", stdin=_DIRECTORY.format(**words, syncrepl=replica))
        if name == "provider":
            self.machine.run(f"slapadd -F {folder}/config -n 1", stdin=f"dn: {BASE}\nobjectClass: domain\ndc: example\n")
        self.machine.write(
            f"/etc/systemd/system/directory-{name}.service", _UNIT.format(name=name, folder=folder, port=LDAP[name])
        )
        self.machine.run(f"systemctl daemon-reload && systemctl enable --now directory-{name}")
        self._wait_for_directory(name)

    def _wait_for_directory(self, name: str) -> None:
        command = f"ldapsearch -x -H ldap://127.0.0.1:{LDAP[name]} -D {ADMIN} -w '{DIRECTORY_PASSWORD}' -b {BASE} -s base dn"
        wait_until(lambda: self.machine.run(command, check=False).returncode == 0, f"the {name} answers", 60)
