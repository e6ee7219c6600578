"""How the benchmarks measure: one fio run, processes and mounts that are always taken down, and
CPUs that do not fall asleep between two requests."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

COMMAND_LIMIT_SECONDS = 120
STOP_LIMIT_SECONDS = 20
MOUNT_LIMIT_SECONDS = 15
FIO_SLACK_SECONDS = 60  # what fio may need beyond its run time, on a machine that others use too


class BenchmarkError(Exception):
    """Something the benchmark needs did not work; the message says what and why."""


def run(*command, limit_seconds=COMMAND_LIMIT_SECONDS, environment=None):
    """Runs a command to its end and returns what it printed. `environment` is added to ours."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=limit_seconds, check=False,
                              env={**os.environ, **(environment or {})})
    except FileNotFoundError as error:
        raise BenchmarkError(f"cannot run {command[0]}: no such program") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"`{words(command)}` took longer than {limit_seconds} s") from error
    if done.returncode != 0:
        raise BenchmarkError(f"`{words(command)}` ended with status {done.returncode}:\n"
                             f"{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def words(command):
    return " ".join(str(word) for word in command)


def stop(process):
    """Ends a child of ours: politely, and after a while with force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_mounted(path):
    """Whether the mount table names `path`; a dead mount counts, and nothing touches its files."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(path) for line in table)


def unmount_by_force(path):
    if is_mounted(path):
        subprocess.run(["umount", "-l", str(path)], check=False, timeout=STOP_LIMIT_SECONDS,
                       capture_output=True)


@contextmanager
def mounted_by_child(command, mount_point):
    """Runs a program that serves `mount_point` in the foreground, until the block ends."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + MOUNT_LIMIT_SECONDS
        while not is_mounted(mount_point):
            if process.poll() is not None:
                raise BenchmarkError(f"`{words(command)}` ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"`{words(command)}` did not mount {mount_point}")
            time.sleep(0.02)
        yield process
    finally:
        stop(process)
        unmount_by_force(mount_point)


def fio(path, *, pattern, block_bytes, depth, size_bytes, io_bytes=None, seconds=None, once=False,
        direct=True, map_blocks=True):
    """One fio run through io_uring; returns fio's record of the job's reads or writes.

    `once` touches every block at most once and ends early when all are done; otherwise the run goes
    round the file until `seconds` have passed. Without `seconds` it is once through the file, or
    until `io_bytes` are written; `map_blocks` off saves fio's note of what it touched.
    """
    command = ["fio", "--name=benchmark", f"--filename={path}", f"--rw={pattern}",
               f"--bs={block_bytes}", f"--iodepth={depth}", f"--size={size_bytes}",
               "--ioengine=io_uring", f"--direct={int(direct)}", "--thread", "--fallocate=none",
               "--invalidate=0", "--randrepeat=0", "--output-format=json"]
    if not map_blocks:
        command.append("--norandommap")
    if io_bytes is not None:
        command.append(f"--io_size={io_bytes}")
    if seconds is not None:
        command.append(f"--runtime={seconds}")
        if not once:
            command += ["--time_based", "--norandommap"]
    output = run(*command, limit_seconds=(seconds or COMMAND_LIMIT_SECONDS) + FIO_SLACK_SECONDS)
    # fio may print a remark before the record.
    job = json.loads(output[output.index("{"):])["jobs"][0]
    if job["error"] != 0:
        raise BenchmarkError(f"fio on {path}: {os.strerror(job['error'])}")
    record = job["read" if "read" in pattern else "write"]
    if record["total_ios"] == 0:
        raise BenchmarkError(f"fio did no I/O on {path}")
    return record


def settle(path):
    """Writes back what the last run left dirty, so that the next one does not pay for it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def awake_cpus(wanted):
    """Keeps every CPU from halting, with a process of the class that gives way to everything.

    Waking a halted virtual CPU costs several times what a request costs, and whether a CPU halts
    depends on what else the machine does: without this, the figures at depth 1 jump by a factor
    of four from run to run, for every candidate. With more requests under way it does harm: the
    scheduler then takes no CPU for idle.
    """
    parent = os.getpid()
    children = []
    try:
        for cpu in sorted(os.sched_getaffinity(0)) if wanted else []:
            child = os.fork()
            if child == 0:
                spin_until_orphaned(cpu, parent)
            children.append(child)
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def spin_until_orphaned(cpu, parent):
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while os.getppid() == parent:
            for _ in range(100_000):
                pass
    finally:
        os._exit(0)


def end_on_signals():
    """A terminated benchmark unwinds like a failed one, and so takes its mounts down."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def progress(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def machine():
    """What one must know about the machine to read the figures."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.split(":", 1)[1].strip()
                  for line in cpuinfo if line.startswith("model name")]
    return {
        "kernel": os.uname().release,
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": models[0] if models else os.uname().machine,
        "load_average": round(os.getloadavg()[0], 2),
        "fio": run("fio", "--version").strip(),
    }


def describe(facts):
    return (f"{facts['cpus']} CPUs ({facts['cpu_model']}), Linux {facts['kernel']}, "
            f"{facts['fio']}, load average at the start {facts['load_average']}")
