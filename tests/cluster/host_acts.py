#!/usr/bin/env python3
"""Runs on a host and does what acts.py asks for: one request a line, one answer a line, both JSON.

Only `stream` says more than one thing: {"synced": N} whenever its first N writes are flushed. It ends
when a line arrives (which is the next request), or with the errno of what failed.
"""

import errno
import json
import mmap
import os
import select
import sys
import time

from blocks import BLOCK_BYTES, decode, encode, place

_POLL_SECONDS = 0.002
_PIECE_BLOCKS = 256

handles = {}


def say(reply):
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def aligned(size_bytes):
    """Memory that O_DIRECT takes."""
    return mmap.mmap(-1, size_bytes)


def act_open(path, write, direct, at=None):
    """`at`: the moment of the monotonic clock, which all hosts of a test share, to do it at."""
    flags = os.O_RDWR if write else os.O_RDONLY
    flags |= os.O_DIRECT if direct else 0
    if at is not None:
        time.sleep(max(0, at - time.monotonic() - _POLL_SECONDS))
        while time.monotonic() < at:
            pass
    begin = time.monotonic()
    try:
        handle = os.open(path, flags)
    except OSError as error:
        return {"errno": errno.errorcode[error.errno], "seconds": time.monotonic() - begin}
    seconds = time.monotonic() - begin
    number = max(handles, default=0) + 1
    handles[number] = handle
    return {"handle": number, "seconds": seconds}


def act_close(handle):
    os.close(handles.pop(handle))
    return {}


def write_mark(descriptor, block, mark, memory):
    memory[:] = encode(mark)
    done = os.pwrite(descriptor, memory, block * BLOCK_BYTES)
    if done != BLOCK_BYTES:
        raise OSError(errno.EIO, f"wrote {done} bytes of a block")


def act_write(handle, block, mark):
    write_mark(handles[handle], block, mark, aligned(BLOCK_BYTES))
    return {}


def act_write_many(handle, writes):
    """Blocks with their marks, in this order, and a flush."""
    memory = aligned(BLOCK_BYTES)
    for block, mark in writes:
        write_mark(handles[handle], block, mark, memory)
    os.fsync(handles[handle])
    return {}


def act_sync(handle):
    os.fsync(handles[handle])
    return {}


def act_marks(handle, first, count):
    memory = aligned(_PIECE_BLOCKS * BLOCK_BYTES)
    marks = []
    while len(marks) < count:
        want = min(count - len(marks), _PIECE_BLOCKS)
        view = memoryview(memory)[:want * BLOCK_BYTES]
        done = os.preadv(handles[handle], [view], (first + len(marks)) * BLOCK_BYTES)
        if done != len(view):
            raise OSError(errno.EIO, f"read {done} bytes of {len(view)}")
        marks += [decode(bytes(view[at:at + BLOCK_BYTES])) for at in range(0, done, BLOCK_BYTES)]
    return {"marks": marks}


def act_stream(handle, host, generation, blocks, sync_every):
    """Writes blocks until told otherwise, and flushes after each `sync_every` of them."""
    memory = aligned(BLOCK_BYTES)
    number = 0
    during = "write"
    try:
        while not select.select([sys.stdin], [], [], 0)[0]:
            during = "write"
            for _ in range(sync_every):
                number += 1
                write_mark(handles[handle], place(number, blocks), (host, generation, number),
                           memory)
            during = "sync"
            os.fsync(handles[handle])
            say({"synced": number})
    except OSError as error:
        return {"ended": errno.errorcode[error.errno], "during": during, "number": number}
    return {"ended": None, "number": number}


def act_list(path):
    return {"names": sorted(os.listdir(path))}


def act_stat(path):
    facts = os.stat(path)
    return {"size": facts.st_size, "blocks": facts.st_blocks, "inode": facts.st_ino}


def act_make(path, size=None):
    """A file (of this size), or a snapshot: the tree knows."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    if size is not None:
        os.truncate(path, size)
    return {"at": time.monotonic()}


def act_make_folder(path):
    os.mkdir(path)
    return {"at": time.monotonic()}


def act_rename(path, to):
    os.rename(path, to)
    return {"at": time.monotonic()}


def act_remove(path):
    os.remove(path)
    return {"at": time.monotonic()}


def act_resize(path, size):
    os.truncate(path, size)
    return {"at": time.monotonic()}


def act_await(path, limit, exists=True, size=None, target=None):
    """Looks at a name until it is there (with this size, or as a link to this), or is not."""
    begin = time.monotonic()
    while True:
        try:
            facts = os.lstat(path)
            seen = exists and (size is None or facts.st_size == size)
            seen = seen and (target is None or os.readlink(path) == target)
        except FileNotFoundError:
            seen = not exists
        if seen or time.monotonic() - begin > limit:
            return {"seen": seen, "at": time.monotonic()}
        time.sleep(_POLL_SECONDS)


def answer(request):
    act = request.pop("act")
    try:
        return globals()[f"act_{act}"](**request)
    except OSError as error:
        return {"errno": errno.errorcode.get(error.errno, "EIO"), "act": act, "text": str(error)}


def main():
    # Unbuffered: select must see a line that has arrived.
    pending = b""
    while True:
        while b"\n" not in pending:
            piece = os.read(sys.stdin.fileno(), 1 << 16)
            if not piece:
                return
            pending += piece
        line, _, pending = pending.partition(b"\n")
        say(answer(json.loads(line)))


if __name__ == "__main__":
    main()
