"""What the load benchmark runs on: MariaDB servers, haproxy, MySQL Router and shardway, on loopback.

All of it lives in a throw-away directory and ends with the run. `login` is the least of a client that can do so.
"""

import hashlib
import os
import socket
import subprocess
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHROOT = Path(os.environ.get("SHARDWAY_MYSQL_ROOT", "/opt/shardway-mysql"))
ROWS = 100_000
SHARDS = 4
IDLE = 2_000
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# sysbench's own table; `big` has one shard key value, so that one shard has all of it.
TABLE = "id INT NOT NULL PRIMARY KEY, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', KEY (k)"
BIG = "id INT NOT NULL PRIMARY KEY, g INT NOT NULL, c CHAR(120) NOT NULL, KEY (g)"
FILL = f"INSERT INTO {{table}} SELECT seq, seq * 7 % {ROWS}, RPAD(SHA1(seq), 119, SHA1(seq + 1)), RPAD(MD5(seq), 59, 'x') FROM seq_1_to_{ROWS} WHERE {{where}}"
FILL_BIG = f"INSERT INTO {{table}} SELECT seq, 1, RPAD(SHA1(seq), 119, SHA1(seq + 1)) FROM seq_1_to_{ROWS}"


class Peer:
    """Something to connect to; `pid` is the proxy process, None for the server itself."""

    def __init__(self, name, port, pid):
        self.name, self.port, self.pid = name, port, pid

    def cpu(self):
        """User and system seconds so far."""
        if self.pid is None:
            return (0.0, 0.0)
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) / TICKS, int(fields[12]) / TICKS)

    def rss(self):
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE


class Run:
    """The processes and files of one run."""

    def __init__(self, folder):
        self.folder, self.processes = Path(folder), []

    def start(self, name, command):
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process.pid

    def wait(self, name, port):
        for _ in range(300):
            try:
                login(port).close()
                return
            except (OSError, EOFError):
                time.sleep(0.1)
        sys.exit(f"{name} does not answer on port {port}:\n" + (self.folder / f"{name}.log").read_text()[-2000:])

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def packet(connection):
    def read(length):
        data = b""
        while len(data) < length:
            got = connection.recv(length - len(data))
            if not got:
                raise EOFError
            data += got
        return data

    header = read(4)
    return header[3], read(int.from_bytes(header[:3], "little"))


def scramble(plugin, salt):
    """The answer to a salt; the password is `bench`."""
    digest = hashlib.sha1 if plugin == b"mysql_native_password" else hashlib.sha256
    once = digest(b"bench").digest()
    twice = digest(once).digest()
    mixed = digest(salt + twice).digest() if digest is hashlib.sha1 else digest(twice + salt).digest()
    return bytes(a ^ b for a, b in zip(once, mixed))


def login(port):
    """A connection that has logged in, by the greeting's plugin or the one that it is told to switch to."""
    connection = socket.create_connection(("127.0.0.1", port), 5)
    sequence, greeting = packet(connection)
    at = greeting.index(0, 1) + 5
    salt = greeting[at : at + 8] + greeting[at + 27 : at + 39]
    plugin = greeting[at + 40 :].rstrip(b"\0")
    answer = scramble(plugin, salt)
    # LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH
    body = (0x8A209).to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + bytes([45]) + bytes(23)
    body += b"bench\0" + bytes([len(answer)]) + answer + b"bench\0" + plugin + b"\0"
    while True:
        connection.sendall(len(body).to_bytes(3, "little") + bytes([sequence + 1]) + body)
        sequence, told = packet(connection)
        # "Fast authentication went well" precedes the OK.
        if told[:2] == b"\1\3":
            sequence, told = packet(connection)
        if told[:1] == b"\0":
            return connection
        if told[:1] != b"\xfe":
            raise OSError(told)
        plugin, _, salt = told[1:].partition(b"\0")
        body = scramble(plugin, salt[:20])


def free_ports(count):
    """Ports below those that the kernel gives to outgoing connections."""
    ports, port = [], 12_000 + os.getpid() * 13 % 15_000
    while len(ports) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                ports.append(port)
            except OSError:
                pass
    return ports


def server(run, name, port, template, tables):
    data = run.folder / name
    shutil.copytree(template, data, symlinks=True)
    (run.folder / "init.sql").write_text("CREATE USER 'bench'@'%' IDENTIFIED BY 'bench';\nGRANT ALL ON *.* TO 'bench'@'%';\nCREATE DATABASE bench;\n")
    user = ["--user=root"] if os.getuid() == 0 else []
    run.start(name, ["mariadbd", "--no-defaults", *user, f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1",
        f"--socket={data}/s", f"--pid-file={data}/pid", f"--init-file={run.folder}/init.sql", "--skip-name-resolve", "--skip-log-bin",
        "--innodb-buffer-pool-size=256M", f"--max-connections={IDLE + 500}", "--back-log=1024", "--performance-schema=OFF"])
    run.wait(name, port)
    for statement in tables:
        subprocess.run(["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", "-ubench", "-pbench", "bench", "-e", statement], check=True, stdout=subprocess.DEVNULL)


def servers(run, ports):
    template = run.folder / "template"
    user = ["--user=root"] if os.getuid() == 0 else []
    subprocess.run(["mariadb-install-db", "--no-defaults", *user, "--auth-root-authentication-method=normal", "--skip-test-db",
        f"--datadir={template}"], check=True, capture_output=True)

    def table(name, where):
        return [f"CREATE TABLE {name} ({TABLE})", FILL.format(table=name, where=where), f"ANALYZE TABLE {name}"]

    def big(name, filled):
        return [f"CREATE TABLE {name} ({BIG})", *([FILL_BIG.format(table=name)] if filled else [])]

    whole = table("sbtest1", "true") + big("big", filled=True)
    server(run, "direct", ports[0], template, whole)
    for place in (0, 1):
        tables = []
        for number in (2 * place, 2 * place + 1):
            tables += table(f"sbtest1_{number}", f"seq % {SHARDS} = {number}") + big(f"big_{number}", filled=number == 1)
        server(run, f"s{place}", ports[1 + place], template, tables)


def shardway(run, name, port, rules):
    folder = run.folder / name
    folder.mkdir()
    (folder / "rules.toml").write_text(rules)
    (folder / "shardway.toml").write_text(f"""rules = "rules.toml"
[listen]
mysql = "127.0.0.1:{port}"
admin = "off"
console = "off"
[[users]]
name = "bench"
password = "bench"
[log]
level = "warn"
""")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    pid = run.start(name, [str(target / "release/shardway"), "serve", "--config", str(folder / "shardway.toml")])
    run.wait(name, port)
    return Peer(name, port, pid)


def haproxy(run, port, to):
    file = run.folder / "haproxy.cfg"
    file.write_text(f"""global
  maxconn 6000
defaults
  mode tcp
  maxconn 6000
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:{port}
  server direct 127.0.0.1:{to}
""")
    pid = run.start("haproxy", ["haproxy", "-db", "-f", str(file)])
    run.wait("haproxy", port)
    return Peer("haproxy", port, pid)


def router(run, port, to):
    folder = Path(tempfile.mkdtemp(prefix="shardway-load-", dir=CHROOT / "tmp"))
    inside = f"/tmp/{folder.name}"
    (folder / "router.conf").write_text(f"""[DEFAULT]
logging_folder={inside}
runtime_folder={inside}
data_folder={inside}
max_total_connections=6000
[logger]
level=WARNING
[routing:bench]
bind_address=127.0.0.1
bind_port={port}
destinations=127.0.0.1:{to}
routing_strategy=first-available
protocol=classic
client_ssl_mode=DISABLED
server_ssl_mode=DISABLED
max_connections=6000
""")
    pid = run.start("router", ["chroot", str(CHROOT), "mysqlrouter", "-c", f"{inside}/router.conf", "--user=root"])
    run.wait("router", port)
    return Peer("MySQL Router", port, pid), folder


def rules(ports):
    backends = "".join(
        f'[backends.{name}]\nprimary = "mysql://bench:bench@127.0.0.1:{port}/bench"\n' for name, port in zip(("direct", "s0", "s1"), ports))
    whole = f'{backends}[databases.bench]\ndefault = "direct"\n'
    function = f'function = {{ kind = "mod", shards = {SHARDS} }}'
    return whole, (f'{whole}[tables.sbtest1]\nshard_key = "id"\n{function}\nnodes = "s{{0..1}}.sbtest1_{{0..3}}"\n'
        f'[tables.big]\nshard_key = "g"\n{function}\nnodes = "s{{0..1}}.big_{{0..3}}"\n')


def doubled(run, ports, of_servers):
    """Writes to `direct` alone, and by each mode to the shards too."""
    _, sharded = rules(of_servers)
    move = '[moves.bench]\ntables = ["sbtest1"]\nfrom = "direct"\ncapture = "none"\ndouble_write = "{mode}"\n'
    names = {"off": "single", "async": "async", "sync": "sync", "strict": "strict"}
    return [shardway(run, f"shardway, {name}", port, sharded + move.format(mode=mode)) for port, (mode, name) in zip(ports, names.items())]
