"""The candidates of io_benchmark. Each can show a disk in three states:

  reading     fully written before, in the state the candidate is named for
  rewriting   fully written before; the head, if there is one, owns every block
  first       nothing of what is now to be written has been written before in the top layer

Reading and rewriting disks live as long as the candidate; a disk for first writes is made for one
run and removed, with what it left dirty, right after it.
"""

import itertools
from contextlib import ExitStack, contextmanager

from measure import fio, mounted_by_child, progress, run, settle

MIB = 1 << 20


def fill(path, size_bytes):
    """Writes every byte of the disk once, in order."""
    fio(path, pattern="write", block_bytes=MIB, depth=4, size_bytes=size_bytes)
    settle(path)


def overwrite_half(path, size_bytes):
    """Writes half of the blocks again, in places chosen at random."""
    fio(path, pattern="randwrite", block_bytes=4096, depth=16, size_bytes=size_bytes,
        io_bytes=size_bytes // 2)
    settle(path)


def make_sparse_file(path, size_bytes):
    with open(path, "xb") as file:
        file.truncate(size_bytes)


class Candidate:
    """What all candidates share: a folder of their own, and disks that go away with the stack."""

    name = ""
    meaning = ""
    direct = True

    def __init__(self, folder, size_bytes, stack):
        self.folder = folder
        self.size_bytes = size_bytes
        self.stack = stack
        self.numbers = itertools.count(1)
        self.folder.mkdir(exist_ok=True)

    def new_label(self, purpose):
        return f"{purpose}{next(self.numbers)}"

    def prepare(self):
        """Makes the disks that are kept; here one is both for reading and for rewriting."""
        progress(f"preparing {self.name}")
        self.reading = self.rewriting = self.stack.enter_context(self.empty_disk("kept"))
        fill(self.reading, self.size_bytes)

    def first(self):
        return self.empty_disk(self.new_label("first"))

    def empty_disk(self, label):
        raise NotImplementedError


class RawFile(Candidate):
    """A file of the filesystem below, without FUSE."""

    name = "raw"
    meaning = "a sparse file on the filesystem below, O_DIRECT: the disk's own speed"

    @contextmanager
    def empty_disk(self, label):
        path = self.folder / label
        make_sparse_file(path, self.size_bytes)
        try:
            yield path
        finally:
            path.unlink()


class CachedRawFile(RawFile):
    """The same file through the page cache, which is what every FUSE candidate has under it."""

    name = "raw cached"
    meaning = "the same through the page cache, without O_DIRECT"
    direct = False


class Floor(Candidate):
    """quoin_floor over a sparse file."""

    name = "floor"
    meaning = "quoin_floor: one pread or pwrite a request, no map"

    def __init__(self, folder, size_bytes, stack, program, options):
        super().__init__(folder, size_bytes, stack)
        self.program = program
        self.options = options

    @contextmanager
    def empty_disk(self, label):
        backing = self.folder / f"{label}.raw"
        mount_point = self.folder / f"{label}.mount"
        make_sparse_file(backing, self.size_bytes)
        mount_point.mkdir()
        try:
            with mounted_by_child([self.program, *self.options, backing, mount_point], mount_point):
                yield mount_point / "disk"
        finally:
            mount_point.rmdir()
            backing.unlink()


class QemuExport(Candidate):
    """QEMU's storage daemon: a qcow2 image as a file through FUSE."""

    name = "QEMU"
    meaning = "qemu-storage-daemon exporting a qcow2 through FUSE, its default cache mode"

    @contextmanager
    def empty_disk(self, label):
        image = self.folder / f"{label}.qcow2"
        shown = self.folder / f"{label}.disk"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, self.size_bytes)
        shown.touch()
        command = ["qemu-storage-daemon",
                   "--blockdev", f"driver=file,node-name=file,filename={image}",
                   "--blockdev", "driver=qcow2,node-name=image,file=file",
                   "--export",
                   f"type=fuse,id=export,node-name=image,mountpoint={shown},writable=on"]
        try:
            with mounted_by_child(command, shown):
                yield shown
        finally:
            shown.unlink()
            image.unlink()


class FreshVdi(Candidate):
    """A VDI that never had a snapshot."""

    name = "quoin fresh"
    meaning = "a VDI without snapshots"

    def __init__(self, folder, size_bytes, stack, store):
        super().__init__(folder, size_bytes, stack)
        self.store = store
        self.prefix = self.name.replace(" ", "-")

    @contextmanager
    def empty_disk(self, label):
        name = f"{self.prefix}-{label}"
        self.store.command("create", name, str(self.size_bytes))
        try:
            yield self.store.vdi(name)
        finally:
            self.store.command("rm", name, "--with-snapshots")

    @contextmanager
    def full_disk(self, label):
        with self.empty_disk(label) as path:
            fill(path, self.size_bytes)
            yield path


class SnapshottedVdi(FreshVdi):
    """A VDI whose content was frozen by a snapshot."""

    name = "quoin snapshot"
    meaning = ("a full VDI after a snapshot; reads: half of the blocks in the head, half below it; "
               "first writes: the first to a block since the snapshot; re-writes: the second")

    @contextmanager
    def frozen_disk(self, label):
        with self.full_disk(label) as path:
            self.store.command("snap", "create", f"{path.name}@frozen")
            yield path

    def prepare(self):
        progress(f"preparing {self.name}")
        self.reading = self.stack.enter_context(self.frozen_disk("half"))
        overwrite_half(self.reading, self.size_bytes)
        self.rewriting = self.stack.enter_context(self.frozen_disk("whole"))
        fill(self.rewriting, self.size_bytes)

    def first(self):
        return self.frozen_disk(self.new_label("first"))


class ClonedVdi(FreshVdi):
    """A clone of a full VDI's snapshot."""

    name = "quoin clone"
    meaning = ("a clone of a full VDI; reads: all from the origin's content; first writes: the "
               "first to a block of the clone; re-writes: the second")

    @contextmanager
    def clone(self, label):
        name = f"{self.prefix}-{label}"
        self.store.command("clone", f"{self.origin.name}@frozen", name)
        try:
            yield self.store.vdi(name)
        finally:
            self.store.command("rm", name)

    def prepare(self):
        progress(f"preparing {self.name}")
        self.origin = self.stack.enter_context(self.full_disk("origin"))
        self.store.command("snap", "create", f"{self.origin.name}@frozen")
        self.reading = self.stack.enter_context(self.clone("untouched"))
        self.rewriting = self.stack.enter_context(self.clone("whole"))
        fill(self.rewriting, self.size_bytes)

    def first(self):
        return self.clone(self.new_label("first"))


def make_candidates(folder, size_bytes, stack: ExitStack, floor, floor_options, store, with_qemu):
    """All candidates in the order of the table; without a store, or QEMU, those are left out."""
    candidates = [RawFile(folder / "raw", size_bytes, stack),
                  CachedRawFile(folder / "cached", size_bytes, stack),
                  Floor(folder / "floor", size_bytes, stack, floor, floor_options)]
    if store is not None:
        candidates += [kind(folder / "quoin", size_bytes, stack, store)
                       for kind in (FreshVdi, SnapshottedVdi, ClonedVdi)]
    if with_qemu:
        candidates.append(QemuExport(folder / "qemu", size_bytes, stack))
    return candidates
