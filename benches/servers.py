"""Three database servers for benches/moving, on loopback, with what they are asked and filled by.

MariaDB as it is installed, or MySQL in the chroot that `./test` makes for it. Both write a binary log of whole rows,
since a move reads one. All of it lives in throw-away directories and ends with the run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import CHROOT, Peer

SETTINGS = ["--innodb-buffer-pool-size=1G", "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0",
    "--innodb-autoinc-lock-mode=2", "--max-allowed-packet=64M", "--log-bin=binlog", "--binlog-format=ROW",
    "--binlog-row-image=FULL", "--local-infile=ON", "--performance-schema=OFF", "--skip-name-resolve", "--bind-address=127.0.0.1"]
LOGIN = ["-h127.0.0.1", "-ubench", "-pbench"]
USER = "CREATE USER 'bench'@'%' IDENTIFIED BY 'bench';\nGRANT ALL ON *.* TO 'bench'@'%' WITH GRANT OPTION;\n"


class Flavour:
    """How programs of a kind of server are called, and where its files are."""

    def __init__(self, name, before, client, dump, base):
        self.name, self.before, self.client, self.dump = name, before, client, dump
        self.folder = Path(tempfile.mkdtemp(prefix="shardway-moving-", dir=base))

    def inside(self, path):
        """A path as the server sees it."""
        return path if self.name == "MariaDB" else Path("/") / path.relative_to(CHROOT)

    def initialize(self, data):
        if self.name == "MariaDB":
            command = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        else:
            command = [*self.before, "mysqld", "--no-defaults", "--initialize-insecure", "--secure-file-priv="]
        subprocess.run([*command, *as_root(), f"--datadir={self.inside(data)}"], check=True, capture_output=True)

    def server(self):
        own = ["mysqld", "--no-defaults", "--mysqlx=OFF", "--secure-file-priv=", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
        return ["mariadbd", "--no-defaults"] if self.name == "MariaDB" else [*self.before, *own]

    def program(self, name, port, *more):
        return [*self.before, name, "--no-defaults", *LOGIN, f"-P{port}", *more]

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def mariadb():
    return Flavour("MariaDB", [], "mariadb", ["mariadb-dump"], None)


def mysql():
    return Flavour("MySQL", ["chroot", str(CHROOT)], "mysql", ["mysqldump", "--set-gtid-purged=OFF"], CHROOT / "tmp")


def as_root():
    return ["--user=root"] if os.getuid() == 0 else []


class Server:
    """A running server."""

    def __init__(self, flavour, port, pid):
        self.flavour, self.port, self.pid = flavour, port, pid

    def cpu(self):
        """CPU seconds so far."""
        return sum(Peer("server", self.port, self.pid).cpu())

    def command(self, database, *more):
        return self.flavour.program(self.flavour.client, self.port, *more, *([database] if database else []))

    def ask(self, sql, database=None):
        """The answer as lines of fields."""
        done = subprocess.run(self.command(database, "-N", "-B", "-e", sql), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{sql[:200]}: {done.stderr[-1000:]}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def together(self, statements, database):
        """Runs statements at the same time, each on a connection of its own. Returns the seconds they took."""
        started = time.monotonic()
        running = [subprocess.Popen(self.command(database, "-e", sql), stderr=subprocess.PIPE) for sql in statements]
        failed = [told for told, process in [(process.communicate()[1], process) for process in running] if process.returncode != 0]
        if failed:
            sys.exit(failed[0].decode(errors="replace")[-1000:])
        return time.monotonic() - started

    def tidy(self):
        """What has been logged so far is of no use any more; nothing of it may slow down what is measured next."""
        self.ask("FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")


def start(run, flavour, ports):
    """Servers on these ports; the user `bench` may do everything."""
    template = flavour.folder / "template"
    flavour.initialize(template)
    (flavour.folder / "init.sql").write_text(USER)
    servers = []
    for number, port in enumerate(ports, 1):
        data, temporary = flavour.folder / f"data{number}", flavour.folder / f"tmp{number}"
        shutil.copytree(template, data, symlinks=True)
        temporary.mkdir()
        inside = flavour.inside(data)
        pid = run.start(f"server{number}", [*flavour.server(), *as_root(), *SETTINGS, f"--server-id={number}", f"--port={port}",
            f"--datadir={inside}", f"--socket={inside}/s", f"--pid-file={inside}/pid", f"--tmpdir={flavour.inside(temporary)}",
            f"--init-file={flavour.inside(flavour.folder / 'init.sql')}"])
        servers.append(Server(flavour, port, pid))
    for number, server in enumerate(servers, 1):
        answers(run, f"server{number}", server)
    return servers


def answers(run, name, server):
    for _ in range(300):
        if subprocess.run(server.command(None, "-e", "SELECT 1"), capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)
    sys.exit(f"{name} does not answer:\n" + (run.folder / f"{name}.log").read_text()[-2000:])
