"""A client of HTTP/2 that sends whatever it is told to, frame by frame."""

import socket
import struct
import time

from hpack import Decoder, Encoder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
          "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
          "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def number(value):
    return struct.pack(">I", value)


def name_of(code):
    return ERRORS[code] if code < len(ERRORS) else str(code)


class Client:
    """One connection. Heads are packed with a table of its own."""

    # Whether what follows an answer is of interest.
    to_the_last = False

    def __init__(self, address, first=None, patience=3.0):
        self.socket = socket.create_connection(address, timeout=patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.patience = patience
        self.pack, self.unpack = Encoder(), Decoder()
        # What is compared is what was sent: no table that changes with each head.
        self.pack.header_table_size = 0
        self.buffer = b""
        self.closed = False
        self.send(PREFACE + (settings() if first is None else first))

    def send(self, data):
        """Sends; that the other side has gone shows when it is read from."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def head(self, method="GET", path="/", more=(), authority="localhost", scheme="http"):
        fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        return self.block(fields + list(more))

    def block(self, fields):
        return self.pack.encode(fields, huffman=False)

    def request(self, stream=1, end=True, **said):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return self.send(frame(HEADERS, flags, stream, self.head(**said)))

    def frames(self, until, patience=None):
        """Frames until one ends the matter, the connection closes or time is up."""
        deadline = time.monotonic() + (patience or self.patience)
        seen = []
        while True:
            while len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + length:
                    break
                kind, flags = self.buffer[3], self.buffer[4]
                stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
                payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
                if kind == SETTINGS and not flags & ACK:
                    self.send(settings(flags=ACK))
                seen.append((kind, flags, stream, payload))
                if until(seen[-1]):
                    return seen
            left = deadline - time.monotonic()
            if left <= 0:
                return seen
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return seen
            except OSError:
                more = b""
            if not more:
                self.closed = True
                return seen
            self.buffer += more

    def outcome(self, patience=None):
        """How it ends, in words: a status, an error of a stream or of the connection."""
        statuses, told = {}, []

        def ends(seen):
            kind, flags, stream, payload = seen
            if kind == HEADERS:
                fields = dict(self.unpack.decode(payload))
                statuses.setdefault(stream, fields.get(":status"))
            if kind == GOAWAY:
                told.append("GOAWAY " + name_of(int.from_bytes(payload[4:8], "big")))
                return True
            if kind == RST_STREAM:
                told.append("RST " + name_of(int.from_bytes(payload, "big")))
                return True
            return kind in (HEADERS, DATA) and bool(flags & END_STREAM) and not self.to_the_last

        self.frames(ends, patience)
        words = [status for status in statuses.values() if status] + told
        if words:
            return " ".join(words)
        return "closed" if self.closed else "nothing"

    def close(self):
        self.socket.close()
