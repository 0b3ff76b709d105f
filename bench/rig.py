"""What the measurements in this folder share: packages, processes, processor
time as the kernel accounts it, wrk, and the tables of docs/performance.md.

Everything listens on loopback. Every server runs on core 0 (or on the first
BENCH_SERVER_CORES), whatever asks it and whatever it asks on the other cores.
"""

import atexit
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
DOCUMENT = ROOT / "docs" / "performance.md"
# Given a number of cores, servers run on as many, with as many threads.
SERVER_THREADS = int(os.environ.get("BENCH_SERVER_CORES", "1"))
SERVER_CORE = "0-%d" % (SERVER_THREADS - 1) if SERVER_THREADS > 1 else "0"
OTHER_CORES = "%d-%d" % (SERVER_THREADS, os.cpu_count() - 1)
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="pannier-bench-"))
FOLDER.chmod(0o755)  # some peers read their files as another user
MEMORY = pathlib.Path(tempfile.mkdtemp(prefix="pannier-bench-", dir="/dev/shm"))


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def packages(**programs):
    """Installs from Debian what is missing: program = package."""
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if not missing:
        return
    say("installing " + " ".join(missing))
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-q"], check=True, stdout=sys.stderr)
    # A package that starts its service at once would take its port.
    environment = {**os.environ, "RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        [*sudo, "apt-get", "install", "-qy", "--no-install-recommends", *missing],
        check=True, stdout=sys.stderr, env=environment,
    )


def build():
    """Builds Pannier and the floor; gives the folders of their programs. Where
    BENCH_PROGRAMS names a folder, all of them are there, built elsewhere."""
    if "BENCH_PROGRAMS" in os.environ:
        folder = pathlib.Path(os.environ["BENCH_PROGRAMS"]).resolve()
        return folder, folder
    say("building")
    run("cargo", "build", "--release", "--locked", cwd=ROOT)
    metadata = json.loads(run("cargo", "metadata", "--no-deps", "--format-version=1", cwd=ROOT))
    release = pathlib.Path(metadata["target_directory"]) / "release"
    target = release.parent / "floor"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    run("cargo", "build", "--release", "--locked", cwd=BENCH / "floor", env=environment)
    return release, target / "release"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A program that listens, and what it has used."""

    def __init__(self, name, command, port, core=None, environment=None):
        self.name, self.port, self.port_h2 = name, port, port
        self.address = f"127.0.0.1:{port}"
        self.log = open(FOLDER / f"{name}.log", "w")
        self.process = subprocess.Popen(
            ["taskset", "-c", core or SERVER_CORE, *map(str, command)],
            stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})},
        )
        atexit.register(self.stop)
        began = time.monotonic()
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() - began > 20:
                sys.exit(f"{name} does not start: {(FOLDER / f'{name}.log').read_text()}")
            time.sleep(0.002)
        self.started_in = time.monotonic() - began

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            return True
        except OSError:
            return False

    def processes(self):
        """Its process and all that descend from it."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry))
        found, left = [], [self.process.pid]
        while left:
            found.append(left.pop())
            left += children.get(found[-1], [])
        return found

    def cpu_seconds(self):
        """User and system, of the processes and of their children that ended."""
        ticks = 0
        for process in self.processes():
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS

    def resident_bytes(self):
        return PAGE * sum(
            int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
            for process in self.processes()
        )

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def configured(name, **values):
    """A peer's configuration with its @NAMES@ filled in."""
    text = (BENCH / "peers" / name).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    path = FOLDER / f"{len(list(FOLDER.iterdir()))}-{name}"
    path.write_text(text)
    return path


def origin(floor):
    port = free_port()
    return Server("origin", [floor / "socket-loop", f"127.0.0.1:{port}"], port, core=OTHER_CORES)


def redis():
    """Without persistence, on the cores of everything but the server."""
    port = free_port()
    command = ["redis-server", "--port", port, "--save", "", "--appendonly", "no"]
    return Server("redis", command, port, core=OTHER_CORES)


def pannier(release, origin, threads=None, bytes_max="4GiB", core=None, under=(), redis=None, more="", upstream="http"):
    port, admin = free_port(), free_port()
    path = configured(
        "pannier.toml", LISTEN=f"127.0.0.1:{port}", ORIGIN=origin.address, THREADS=threads or SERVER_THREADS,
        ADMIN=f"127.0.0.1:{admin}", BYTES_MAX=bytes_max,
    )
    if upstream != "http":
        path.write_text(path.read_text().replace("http://", f"{upstream}://"))
    if redis:
        with open(path, "a") as file:
            file.write(f'[redis]\nurl = "redis://{redis.address}"\nnamespace = "bench"\n')
    if more:
        with open(path, "a") as file:
            file.write(more)
    server = Server("pannier", [*under, release / "pannier", "run", "--config", path], port, core=core)
    server.admin = admin
    return server


def nginx(origin):
    port = free_port()
    folder = MEMORY / f"nginx-{port}"
    folder.mkdir()
    port_h2 = free_port()
    path = configured("nginx.conf", LISTEN=f"127.0.0.1:{port}", LISTEN_H2=f"127.0.0.1:{port_h2}",
                      ORIGIN=origin.address, FOLDER=folder, THREADS=SERVER_THREADS)
    # Workers run as another user, and have to reach their files.
    for each in (MEMORY, folder):
        os.chmod(each, 0o777)
    server = Server("nginx", ["nginx", "-c", path], port)
    server.port_h2 = port_h2
    return server


def haproxy(origin):
    port = free_port()
    port_h2 = free_port()
    path = configured("haproxy.cfg", LISTEN=f"127.0.0.1:{port}", LISTEN_H2=f"127.0.0.1:{port_h2}",
                      ORIGIN=origin.address, THREADS=SERVER_THREADS)
    server = Server("haproxy", ["haproxy", "-db", "-f", path], port)
    server.port_h2 = port_h2
    return server


def varnish(origin):
    port = free_port()
    path = configured("varnish.vcl", ORIGIN_HOST="127.0.0.1", ORIGIN_PORT=origin.port)
    command = ["varnishd", "-F", "-a", f"127.0.0.1:{port}", "-f", path, "-s", "malloc,8G",
               "-n", FOLDER / f"varnish-{port}", "-p", "timeout_idle=300", "-p", "thread_pools=1"]
    return Server("varnish", command, port)


def program(floor, name, *more):
    """One of the small programs of the floor."""
    port = free_port()
    return Server(name, [floor / name, f"127.0.0.1:{port}", *more], port)


def wrk(server, path, seconds, connections=64, core=None, threads=1, latency=False, work=None):
    """Asks for one path for so long, or for a work of works.lua; gives requests
    made, per second, and p99 in ms."""
    command = ["taskset", "-c", core or OTHER_CORES]
    command += ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    command += ["--latency"] if latency else []
    command += ["-s", BENCH / "works.lua"] if work else []
    command += [f"http://{server.address}{path}"]
    command += ["--", work, str(connections)] if work else []
    out = run(*command)
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"{server.name} {path}: {out}")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    p99 = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]] if p99 else None
    return requests, rate, p99


def h2load(server, path, seconds, threads=1, field=None):
    """The same over HTTP/2, without TLS, 8 streams on each of 8 connections; or
    over HTTP/1, with a field: wrk waits for the content of a 304 that states its
    length. Gives no p99."""
    command = ["taskset", "-c", OTHER_CORES, "h2load", f"-t{threads}", f"-D{seconds}"]
    if field:
        command += ["--h1", "-c64", "-m1", "-H", field, f"http://{server.address}{path}"]
    else:
        command += ["-c8", "-m8", f"http://127.0.0.1:{server.port_h2}{path}"]
    out = run(*command)
    found = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", out)
    done, succeeded, failed = map(int, found.groups())
    if failed or done != succeeded or not done:
        sys.exit(f"{server.name} {path}: {out}")
    return done, done / seconds, None


def fill(floor, server, first, last, *prefixes):
    """Asks once for each of many targets, from the other cores."""
    out = run("taskset", "-c", OTHER_CORES, str(floor / "fill"), server.address,
              str(first), str(last), *prefixes)
    if int(out) != last - first:
        sys.exit(f"{server.name}: {out.strip()} of {last - first} answers were 200")


def hits(floor, server, seconds, count, prefix, popularity="any"):
    """Asks for targets 0 to count in no order for so long; gives how often."""
    return int(run("taskset", "-c", OTHER_CORES, str(floor / "load"), server.address,
                   popularity, str(seconds), "0", str(count), prefix).split()[0])


def paced(floor, server, seconds, per_second, path):
    """Asks so often and no more, measured from when each request was due;
    gives the 99th percentile in microseconds."""
    return int(run("taskset", "-c", OTHER_CORES, str(floor / "load"), server.address,
                   "paced", str(seconds), str(per_second), "1", path).split()[1])


def stats(server):
    """What Pannier says of its caches."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/cache/stats") as answer:
        return json.load(answer)


def metric(server, series):
    """The value of one series of its metrics; 0 where it has none yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics") as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines()]
    return next((float(value) for name, value in lines if name == series), 0.0)


def machine():
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def today():
    return datetime.date.today().isoformat()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def write(section, text):
    """Puts text between the section's markers in docs/performance.md."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    document = DOCUMENT.read_text()
    if begin not in document or end not in document:
        sys.exit(f"{DOCUMENT} has no markers for {section}")
    before, rest = document.split(begin, 1)
    after = rest.split(end, 1)[1]
    DOCUMENT.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    print(text)


median = statistics.median


@atexit.register
def _clean():
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.rmtree(MEMORY, ignore_errors=True)
