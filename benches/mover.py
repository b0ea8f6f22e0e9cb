"""One shardway for benches/moving: a move of sysbench's table to four shards on two servers, watched over HTTP."""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from peers import ROOT, Peer

PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/shardway"
# Between two looks at a move.
LOOK_EVERY = 0.02


class Mover:
    """A shardway whose rules move `database`.sbtest1; a fresh one knows of no earlier move."""

    def __init__(self, run, name, database, servers, ports):
        self.run, self.name, self.database, self.servers, self.saved = run, name, database, servers, 0
        self.mysql, self.admin = ports
        self.folder = run.folder / name
        self.folder.mkdir()
        (self.folder / "rules.toml").write_text(rules(database, servers))
        (self.folder / "shardway.toml").write_text(config(database, *ports))
        self.start()

    def start(self):
        self.peer = Peer(self.name, self.mysql, self.run.start(self.name, [str(PROGRAM), "serve", "--config", str(self.folder / "shardway.toml")]))
        self.process = self.run.processes[-1]
        for _ in range(600):
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit(f"{self.name} is not ready:\n" + (self.run.folder / f"{self.name}.log").read_text()[-2000:])

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def status(self):
        """What `move status --json` prints, without a process for each look."""
        return json.loads(self.get("/api/moves/bench")[1])

    def command(self, *arguments):
        command = [str(PROGRAM), *arguments, "--admin", f"127.0.0.1:{self.admin}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def until(self, reached, seconds):
        """The first status that is so, and when it was seen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.status()
            if status["phase"] == "Failed":
                sys.exit(f"{self.name}: {status['last_error']}")
            if reached(status):
                return status, time.monotonic()
            time.sleep(LOOK_EVERY)
        sys.exit(f"{self.name} takes too long: {json.dumps(status)}")

    def rules_status(self):
        return json.loads(self.get("/api/status")[1])["rules"]

    def save(self, lines):
        """Brings the rules with these lines of the move into force; a refusal ends the run."""
        # Never the text that is there already.
        self.saved += 1
        beside = self.folder / "rules.new"
        beside.write_text(f"# {self.saved}\n{rules(self.database, self.servers)}{lines}\n")
        wanted = self.rules_status()["desired_version"] + 1
        beside.rename(self.folder / "rules.toml")
        end = time.monotonic() + 120
        while time.monotonic() < end:
            now = self.rules_status()
            if now["desired_version"] >= wanted and now["last_error"]:
                sys.exit(f"{lines}: {now['last_error']}")
            if now["in_force_version"] >= wanted:
                return
            time.sleep(LOOK_EVERY)
        sys.exit(f"{lines}: these rules take too long")

    def copy(self):
        """Rows copied, seconds, and CPU seconds of shardway and of the servers, while the phase is Copy."""
        used = lambda: (sum(self.peer.cpu()), sum(server.cpu() for server in self.servers))
        self.command("move", "start", "bench")
        _, started = self.until(lambda status: status["phase"] == "Copy", 60)
        before = used()
        status, ended = self.until(lambda status: status["phase"] != "Copy", 900)
        own, theirs = (now - then for now, then in zip(used(), before))
        return status["rows_copied"], ended - started, own, theirs

    def synced(self):
        return self.until(lambda status: status["phase"] == "Synced", 900)[1]

    def verify(self, mode):
        """Seconds of a comparison that found both sides equal; anything else ends the run."""
        started = time.monotonic()
        report = json.loads(self.command("move", "verify", "bench", "--mode", mode, "--json"))
        if not report["clean"] or any(table["authority_rows"] != table["other_rows"] for table in report["tables"]):
            sys.exit(f"the sides differ: {json.dumps(report)[:2000]}")
        return report["checked"], time.monotonic() - started


def rules(database, servers):
    backends = "".join(f'[backends.{name}]\nprimary = "mysql://bench:bench@127.0.0.1:{server.port}"\n'
        for name, server in zip(("legacy", "s0", "s1"), servers))
    return f"""{backends}
[databases.{database}]
default = "legacy"
[tables.sbtest1]
shard_key = "id"
function = {{ kind = "mod", shards = 4 }}
nodes = "s{{0..1}}.sbtest1_{{0..3}}"
[moves.bench]
tables = ["sbtest1"]
from = "legacy"
"""


def config(database, mysql, admin):
    return f"""rules = "rules.toml"
[listen]
mysql = "127.0.0.1:{mysql}"
admin = "127.0.0.1:{admin}"
console = "off"
[[users]]
name = "bench"
password = "bench"
databases = ["{database}"]
[log]
level = "warn"
"""
