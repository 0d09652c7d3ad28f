#!/usr/bin/env python3
"""A disk whose flushes take as long as one wants: a FUSE file system that holds one file, on which
a loop device stands, on which ext4 stands. Whatever a program does to make bytes durable (fsync,
fdatasync, O_DSYNC, RWF_DSYNC, mapped or direct) becomes a flush of the loop device, and that an
fsync of the one file, which takes this long. No program knows of it. Needs root.

  perf/slowdisk.py BACKING-FILE MOUNTPOINT --flush-ms 50      the file system, in the foreground
"""

import argparse
import ctypes
import errno
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

from servers import Failure

NAME = "disk"
ROOT_ID, FILE_ID = 1, 2
WRITE_BYTES_MAX = 1 << 20
# Operations of the kernel's FUSE protocol.
(LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR,
 RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET) = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 27, 28, 29, 36, 38, 42


class SlowDisk:
    """The three layers, mounted: a directory for a server's data."""

    def __init__(self, work, flush_ms, mebibytes=1024):
        self.directory = work / "mounted"
        self.fuse = work / "fuse"
        self.backing = work / "backing"
        self.device = self.child = None
        work.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir()
        self.fuse.mkdir()
        with open(self.backing, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, mebibytes << 20)
        try:
            self.child = subprocess.Popen([sys.executable, __file__, str(self.backing), str(self.fuse),
                                           "--flush-ms", str(flush_ms)], stdin=subprocess.DEVNULL)
            deadline = time.monotonic() + 10
            while not (self.fuse / NAME).exists():
                if self.child.poll() is not None or time.monotonic() > deadline:
                    raise Failure("no FUSE file system can be mounted here")
                time.sleep(0.02)
            self.device = run("losetup", "-f", "--show", str(self.fuse / NAME)).strip()
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.device)
            run("mount", "-t", "ext4", self.device, str(self.directory))
        except BaseException:
            self.remove()
            raise

    def remove(self):
        """Takes the layers away, from the top."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 60}
        subprocess.run(["umount", str(self.directory)], **quiet)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], **quiet)
            # The device lets go of its file a moment later.
            time.sleep(0.2)
        subprocess.run(["umount", "-l", str(self.fuse)], **quiet)
        if self.child is not None:
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.backing.unlink(missing_ok=True)


def run(*command):
    if shutil.which(command[0]) is None:
        raise Failure(f"{command[0]} is not there")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class FileSystem:
    """Serves the one file until it is unmounted."""

    def __init__(self, backing, mountpoint, flush_seconds):
        self.file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.fstat(self.file).st_size
        self.flush_seconds = flush_seconds
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        data = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={WRITE_BYTES_MAX}"
        if libc.mount(b"slowdisk", os.fsencode(mountpoint), b"fuse", 0x6, data.encode()) != 0:
            raise OSError(ctypes.get_errno(), f"mounting FUSE at {mountpoint}")

    def serve(self):
        while True:
            try:
                request = os.read(self.device, WRITE_BYTES_MAX + 8192)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                raise
            _, op, unique, node = struct.unpack_from("<IIQQ", request)
            if op == FSYNC:
                threading.Thread(target=self.flush, args=(unique,), daemon=True).start()
                continue
            if op in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            try:
                self.answer(unique, 0, self.handle(op, node, request))
            except OSError as error:
                self.answer(unique, -error.errno, b"")
            if op == DESTROY:
                return

    def flush(self, unique):
        """Flushes the bytes to the real disk, and takes as long as was asked for."""
        started = time.monotonic()
        os.fdatasync(self.file)
        left = self.flush_seconds - (time.monotonic() - started)
        if left > 0:
            time.sleep(left)
        self.answer(unique, 0, b"")

    def handle(self, op, node, request):
        if op == INIT:
            major, minor, read_ahead, _ = struct.unpack_from("<IIII", request, 40)
            # Writes of more than a page, and so many pages at most.
            flags = 1 << 5 | 1 << 22
            return struct.pack("<IIIIHHIIHHI7I", major, min(minor, 31), read_ahead, flags, 16, 12, WRITE_BYTES_MAX,
                               1, WRITE_BYTES_MAX // 4096, 0, 0, *[0] * 7)
        if op == LOOKUP:
            if request[40:].rstrip(b"\0") != NAME.encode():
                raise OSError(errno.ENOENT, "")
            return struct.pack("<QQQQII", FILE_ID, 0, 3600, 3600, 0, 0) + self.attributes(FILE_ID)
        if op in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self.attributes(node)
        if op in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if op == READ:
            _, offset, size = struct.unpack_from("<QQI", request, 40)
            return os.pread(self.file, size, offset)
        if op == WRITE:
            _, offset, size = struct.unpack_from("<QQI", request, 40)
            return struct.pack("<II", os.pwrite(self.file, memoryview(request)[80:80 + size], offset), 0)
        if op == STATFS:
            return struct.pack("<QQQQQIIII24x", self.size // 4096, 0, 0, 2, 0, 4096, 255, 4096, 0)
        if op in (READDIR, RELEASE, RELEASEDIR, FLUSH, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "")

    def attributes(self, node):
        size, mode = (self.size, 0o100600) if node == FILE_ID else (0, 0o40700)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, unique, error, body):
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError as failed:
            # The request was taken back, or everything was unmounted.
            if failed.errno not in (errno.ENOENT, errno.ENODEV):
                raise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backing", type=pathlib.Path)
    parser.add_argument("mountpoint", type=pathlib.Path)
    parser.add_argument("--flush-ms", type=float, default=50.0)
    options = parser.parse_args()
    # It goes when it is unmounted; an interruption is for those who use it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    FileSystem(options.backing, options.mountpoint, options.flush_ms / 1000).serve()


if __name__ == "__main__":
    main()
