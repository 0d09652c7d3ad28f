"""Jute, the encoding of every ZooKeeper record: big-endian integers, counted buffers, strings and
vectors."""

import struct

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")


class Malformed(Exception):
    """The bytes are not the record they should be."""


class Reader:
    """Reads one record after the other out of `data`."""

    __slots__ = ("data", "at")

    def __init__(self, data, at=0):
        self.data = data
        self.at = at

    def take(self, count):
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise Malformed(f"{count} bytes wanted at {self.at}, {len(self.data) - self.at} left")
        part = self.data[self.at : end]
        self.at = end
        return part

    def rest(self):
        return self.take(len(self.data) - self.at)

    def left(self):
        return len(self.data) - self.at

    def byte(self):
        return self.take(1)[0]

    def bool(self):
        return self.byte() != 0

    def int(self):
        return _INT.unpack(self.take(4))[0]

    def long(self):
        return _LONG.unpack(self.take(8))[0]

    def buffer(self):
        length = self.int()
        if length < -1:
            raise Malformed(f"length {length} at {self.at - 4}")
        return None if length == -1 else bytes(self.take(length))

    def string(self):
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "surrogateescape")

    def vector(self, element):
        count = self.int()
        return None if count == -1 else [element(self) for _ in range(count)]


class Writer:
    """Collects the bytes of a record. Every method returns the writer, so that records read as one
    line."""

    __slots__ = ("parts",)

    def __init__(self):
        self.parts = []

    def bytes(self):
        return b"".join(self.parts)

    def raw(self, data):
        self.parts.append(data)
        return self

    def bool(self, value):
        return self.raw(b"\x01" if value else b"\x00")

    def int(self, value):
        return self.raw(_INT.pack(value))

    def long(self, value):
        return self.raw(_LONG.pack(value))

    def buffer(self, data):
        if data is None:
            return self.raw(b"\xff\xff\xff\xff")
        return self.raw(_INT.pack(len(data))).raw(data)

    def string(self, text):
        """A str, or bytes that are put as they are (to send what is not UTF-8)."""
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogateescape")
        return self.buffer(text)

    def vector(self, values, put):
        if values is None:
            return self.int(-1)
        self.int(len(values))
        for value in values:
            put(self, value)
        return self
