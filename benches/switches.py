"""How long clients wait while writes go over and come back, for benches/moving.

A load of single writes goes on through shardway at a steady rate. Its clients are sysbench's, so that the longest wait is
theirs, not shardway's own word.
"""

import re
import statistics
import subprocess
import sys
import time

# Writes a second, and the clients that share them.
RATE = 200
CLIENTS = 8
# Between two switches; each has seconds of its own in the load's reports.
PAUSE = 3
WRITE = """
function thread_init() con = sysbench.sql.driver():connect() end
function event() con:query("UPDATE sbtest1 SET k = k + 1 WHERE id = " .. sysbench.rand.uniform(1, {rows})) end
function thread_done() con:disconnect() end
"""


class Load:
    """Clients that write until they are stopped."""

    def __init__(self, run, mover, database, rows):
        self.log = run.folder / f"writes-{mover.name}.log"
        script = run.folder / "write.lua"
        script.write_text(WRITE.format(rows=rows))
        command = ["sysbench", str(script), "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={mover.mysql}",
            "--mysql-user=bench", "--mysql-password=bench", f"--mysql-db={database}", f"--threads={CLIENTS}", "--time=0", "--events=0",
            f"--rate={RATE}", "--report-interval=1", "--percentile=100", "run"]
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        run.processes.append(self.process)

    def longest(self):
        """Milliseconds of the slowest write of each second so far."""
        return [float(ms) for ms in re.findall(r"lat \(ms,100%\): ([\d.]+)", self.log.read_text())]

    def stop(self):
        """Ends it; anything but writes that succeeded ends the run."""
        if self.process.poll() is not None:
            sys.exit(f"the load has ended by itself:\n{self.log.read_text()[-2000:]}")
        self.process.terminate()
        self.process.wait(20)


def measure(run, mover, database, rows, lines, rounds):
    """What shardway and its clients say of `rounds` switches there and back under these lines of the move."""
    mover.save(lines)
    mover.verify("hash")
    load = Load(run, mover, database, rows)
    time.sleep(PAUSE)
    quiet = max(load.longest())
    switches = []
    for side in ["target", "source"] * rounds:
        mover.until(lambda status: status["lag_s"] is not None and status["lag_s"] < 1, 60)
        before = len(load.longest())
        mover.save(f'{lines}\nwrites = "{side}"')
        status = mover.status()
        time.sleep(PAUSE)
        last = status["last_switch"]
        switches.append((last["held_ms"], last["steps_ms"], last["evidence"]["lag_ms"], max(load.longest()[before:])))
    load.stop()
    mover.verify("hash")
    return quiet, switches


def row(name, quiet, switches):
    held, steps, lag, stall = zip(*switches)
    middle = lambda of: f"{statistics.median(of):.0f}"
    parts = [middle([of[step] for of in steps]) for step in STEPS]
    rest = middle([whole - sum(of.values()) for whole, of in zip(held, steps)])
    waits = [middle(stall), f"{max(stall):.0f}", f"{quiet:.0f}", "500"]
    return [name, str(len(switches)), middle(lag), middle(held), f"{max(held):.0f}", *parts, rest, *waits]


STEPS = ["fence", "catch_up", "compare", "positions", "stop_streams"]
HEADS = ["switches", "lag ms", "held ms", "at most", "fence", "catching up", "comparing", "positions", "stopping streams", "the rest",
    "longest wait ms", "at most", "without a switch", "goal"]
