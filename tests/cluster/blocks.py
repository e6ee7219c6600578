"""Blocks that say who wrote them, and what a disk of such blocks may hold after a crash.

A mark is (host, generation, number): which host wrote the block, at which of its turns, and how many
writes into that. It fills the whole block, so that half of one and half of another is seen.
"""

import struct

BLOCK_BYTES = 4096
DAMAGED = "damaged"
_RECORD = struct.Struct("<8s8sQQ")
_MAGIC = b"quoinblk"


def encode(mark):
    host, generation, number = mark
    return _RECORD.pack(_MAGIC, host.encode(), generation, number) * (BLOCK_BYTES // _RECORD.size)


def decode(block):
    """The mark; None for zeros; DAMAGED for what no writer wrote."""
    if block == bytes(BLOCK_BYTES):
        return None
    magic, host, generation, number = _RECORD.unpack_from(block)
    mark = (host.rstrip(b"\0").decode(errors="replace"), generation, number)
    return mark if magic == _MAGIC and block == encode(mark) else DAMAGED


def place(number, blocks):
    """Where the write of this number goes: all over the disk, again and again."""
    return number * 2654435761 % (1 << 32) * blocks >> 32


class Shadow:
    """What a disk holds for certain, and what it may hold of writes that were not flushed."""

    def __init__(self, blocks):
        self.blocks = blocks
        self._durable = [None] * blocks
        self._possible = {}

    def written(self, block, mark):
        self._possible.setdefault(block, []).append(mark)

    def flushed(self):
        """Everything written so far is durable."""
        for block, marks in self._possible.items():
            self._durable[block] = marks[-1]
        self._possible = {}

    def certain(self):
        """What the disk holds, once all is flushed."""
        return list(self._durable)

    def problems(self, marks):
        """What is wrong with a disk that holds these marks, in words; empty if nothing is."""
        found = []
        for block, mark in enumerate(marks):
            allowed = [self._durable[block], *self._possible.get(block, [])]
            if mark not in allowed:
                found.append(f"block {block} holds {mark}, not {' or '.join(map(str, allowed))}")
        return found

    def settle(self, marks):
        """This is what the next owner found; nothing else may be found from now on."""
        self._durable = list(marks)
        self._possible = {}
