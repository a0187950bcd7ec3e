"""A name server of the tests' own, by UDP and TCP, with a few names below `outside.test`.

As a program: `dns_server.py ADDRESS` serves at port 53 until it is ended.
"""

from __future__ import annotations

import selectors
import socket
import sys

ANSWER = "192.0.2.77"
_TXT = 16


def answer(query: bytes, *, by_tcp: bool) -> bytes | None:
    """What it says: `big.` does not fit into a datagram, `silent.` is not answered, `broken.`
    is a failure, and what is not below `outside.test` is not there."""
    end = query.index(b"\0", 12) + 5
    name = query[12:end].lower()
    if b"silent" in name:
        return None
    if b"broken" in name:
        return query[:2] + b"\x81\x82" + query[4:6] + bytes(6) + query[12:end]
    if b"\x07outside\x04test\0" not in name:
        return query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:end]
    kind = int.from_bytes(name[-4:-2], "big")
    if b"big" in name and kind == _TXT:
        if not by_tcp:
            return query[:2] + b"\x83\x80" + query[4:6] + bytes(6) + query[12:end]
        texts = [f"text {number:03} {'x' * 90}".encode() for number in range(40)]
        data = [bytes([len(text)]) + text for text in texts]
    elif kind == 1:
        data = [socket.inet_aton(ANSWER)]
    else:
        data = []
    records = b"".join(
        b"\xc0\x0c" + name[-4:] + bytes([0, 0, 0, 60]) + len(each).to_bytes(2, "big") + each
        for each in data
    )
    counts = query[4:6] + len(data).to_bytes(2, "big") + bytes(4)
    return query[:2] + b"\x81\x80" + counts + query[12:end] + records


def serve(address: str, port: int = 53) -> None:
    """Serve for ever."""
    by_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    by_tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    by_tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    waiting = selectors.DefaultSelector()
    for each in (by_udp, by_tcp):
        each.bind((address, port))
        waiting.register(each, selectors.EVENT_READ)
    by_tcp.listen()
    while True:
        for key, _ in waiting.select():
            if key.fileobj is by_udp:
                query, place = by_udp.recvfrom(65535)
                said = answer(query, by_tcp=False)
                if said is not None:
                    by_udp.sendto(said, place)
                continue
            connection, _ = by_tcp.accept()
            with connection, connection.makefile("rwb") as stream:
                query = stream.read(int.from_bytes(stream.read(2), "big"))
                said = answer(query, by_tcp=True) or b""
                stream.write(len(said).to_bytes(2, "big") + said)


if __name__ == "__main__":
    serve(sys.argv[1])
