"""Running programs with a time limit on each, and waiting for what they bring about."""

import subprocess
import time

LIMIT_SECONDS = 60
_POLL_SECONDS = 0.02


def run(*command, limit_seconds=LIMIT_SECONDS, allowed=(0,), **options):
    """Runs a program and returns what it wrote, standard error included.

    Raises AssertionError, with the output, if its exit status is not one of `allowed`.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=limit_seconds, check=False, **options)
    output = done.stdout.decode(errors="replace")
    if done.returncode not in allowed:
        raise AssertionError(f"'{' '.join(words)}' ended with status {done.returncode}:\n{output}")
    return output


def succeeds(*command, limit_seconds=LIMIT_SECONDS):
    """Whether a program can be run to its end within the limit, with exit status 0."""
    try:
        run(*command, limit_seconds=limit_seconds)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True


def wait_until(condition, what, limit_seconds=LIMIT_SECONDS):
    """Polls until condition() is true and returns how long that took, in seconds."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > limit_seconds:
            raise AssertionError(f"waited {limit_seconds} s in vain for {what}")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - begin


def last_lines(path, count=40):
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError as error:
        return f"({error})"
