"""Runs a test program on a machine of its own as far as mounts, network and processes go.

The hosts of a cluster, their mounts, the bridge between them and the servers of the filesystem that
they share all live in namespaces that end with the test, however it ends: the kernel kills what is
left of their processes and drops the mounts. So a hung mount hangs nobody else, and a daemon that
was left behind is no more.

Three processes are involved: the one that was started makes the folder, waits, and removes it; the
first one of the new PID namespace reaps orphans; its child is the test.
"""

import faulthandler
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

_FOLDER_VARIABLE = "QUOIN_CLUSTER_FOLDER"
KEEP_VARIABLE = "QUOIN_TEST_KEEP"
# After its own limit the test has this long to say what is to be said.
_GRACE_SECONDS = 20


def enter(limit_seconds):
    """Returns the work folder, in the test's process; the other processes do not return.

    After `limit_seconds` the test ends as it is, once it has said where it was and `last_words`.
    """
    folder = os.environ.get(_FOLDER_VARIABLE)
    if folder is None:
        sys.exit(_run_inside(limit_seconds))
    _reap_for_a_child()
    _limit(limit_seconds)
    return pathlib.Path(folder)


def _go_before_others():
    """What runs here now and then has to answer in time, or leases end; it needs little of a machine
    that is busy with other things, but that at once."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        print("this machine grants no priority; if it is busy, leases may end", flush=True)


def _run_inside(limit_seconds):
    _go_before_others()
    folder = tempfile.mkdtemp(prefix="quoin-cluster-", dir="/var/tmp")
    program = subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "--net", "--uts", "--pid", "--fork",
         "--kill-child=SIGKILL", "--mount-proc", sys.executable, *sys.argv],
        env=os.environ | {_FOLDER_VARIABLE: folder})

    def stop(*_):
        raise SystemExit("stopped")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        return program.wait(limit_seconds + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"killed: it did not end in {limit_seconds + _GRACE_SECONDS} s"
    finally:
        program.kill()
        program.wait()
        if os.environ.get(KEEP_VARIABLE):
            print(f"kept as {KEEP_VARIABLE} asks: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _reap_for_a_child():
    child = os.fork()
    if child == 0:
        return
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def _limit(limit_seconds):
    """There is nothing to tidy up that the end of the namespaces does not."""
    def give_up(number, _):
        print(f"stopped by signal {signal.Signals(number).name}"
              + (f": {limit_seconds} s are over" if number == signal.SIGALRM else ""), flush=True)
        faulthandler.dump_traceback(sys.stdout)
        for say in last_words:
            say()
        sys.stdout.flush()
        os._exit(1)
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    signal.alarm(limit_seconds)


last_words = []  # functions that print what helps to understand why a test did not end
