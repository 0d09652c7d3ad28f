"""A blocking client of raw frames: one socket, one session, no thread. It hides nothing: events are
kept in the order
they came, replies are dictionaries with their header."""

import socket
import struct

from . import proto


class Closed(Exception):
    """The server closed the connection."""


class Connection:
    """A socket and its frames, nothing more."""

    def __init__(self, address, timeout=20.0):
        self.sock = socket.create_connection(parse_address(address), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0

    def send(self, data):
        self.sock.sendall(data)

    def frame(self):
        """The next frame's body, `Closed` at the end of the stream."""
        while True:
            body = self.buffered_frame()
            if body is not None:
                return body
            self._fill()

    def buffered_frame(self):
        """The next frame's body if all of it has come, else None."""
        left = len(self.buffer) - self.at
        if left < 4:
            return None
        (length,) = struct.unpack_from(">i", self.buffer, self.at)
        if left < 4 + length:
            return None
        start = self.at + 4
        self.at = start + length
        return bytes(self.buffer[start : self.at])

    def _fill(self):
        if self.at:
            del self.buffer[: self.at]
            self.at = 0
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        self.buffer += data

    def close(self):
        self.sock.close()


class Client:
    """A session. `call` sends one request and waits for its reply; events that came on the way are
    in `events`."""

    def __init__(self, address, session=0, password=b"\0" * 16, timeout_ms=30000, **connect):
        self.connection = Connection(address)
        self.connection.send(proto.frame(proto.connect_request(timeout_ms, session, password, **connect)))
        self.connected = proto.read_connect_response(self.connection.frame())
        self.session = self.connected["session"]
        self.password = self.connected["password"]
        self.events = []
        self.last_xid = 0

    def call(self, op, record=b"", xid=None):
        return self.pipeline([(op, record)], xid)[0]

    def pipeline(self, requests, xid=None):
        """Sends all `requests` (pairs of operation and record) in one write and returns their
        replies."""
        frames = []
        for op, record in requests:
            self.last_xid += 1
            frames.append(proto.request(self.last_xid if xid is None else xid, op, record))
        self.connection.send(b"".join(frames))
        return [self.reply(op) for op, _ in requests]

    def reply(self, op):
        while True:
            reply = proto.read_reply(op, self.connection.frame())
            if reply["xid"] != proto.XID_EVENT:
                return reply
            self.events.append(reply)

    def ok(self, op, record=b"", xid=None):
        reply = self.call(op, record, xid)
        if reply["err"] != 0:
            raise AssertionError(f"{proto.NAMES.get(op, op)} {record!r}: {reply}")
        return reply

    def auth(self, scheme, data):
        return self.ok(proto.AUTH, proto.auth(scheme, data), proto.XID_AUTH)

    def close(self):
        """Ends the session and the connection."""
        self.ok(proto.CLOSE_SESSION)
        self.connection.close()

    def drop(self):
        """Ends the connection; the session lives on."""
        self.connection.close()


def parse_address(address):
    host, _, port = address.rpartition(":")
    return host or "127.0.0.1", int(port)


def four_letter_word(address, word, timeout=10.0):
    with socket.create_connection(parse_address(address), timeout) as sock:
        sock.sendall(word.encode())
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()
