"""A process that takes over and dies of it: it asks for everything, gets it, and never says that it has it.

    python bench/silent_successor.py SOCKET

Prints the kind of the last message and how many descriptors came with it. For `takeover.py` and the tests.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

HEAD = struct.Struct("<IIQQ")  # magic, kind, bytes, descriptors
MAGIC = 0x4C524143
DESCRIPTORS_PER_MESSAGE = 253


def main() -> None:
    link = socket.socket(socket.AF_UNIX)
    link.connect(sys.argv[1])
    ask = b"1 999 silent"
    link.sendall(HEAD.pack(MAGIC, 1, len(ask), 0) + ask)
    kind = mine = 0
    while not mine:  # entries of the logs go ahead
        _, kind, size, count = HEAD.unpack(link.recv(HEAD.size, socket.MSG_WAITALL))
        while mine < count:
            _, control, _, _ = link.recvmsg(1, socket.CMSG_SPACE(DESCRIPTORS_PER_MESSAGE * 4))
            mine += sum(len(data) // 4 for _, _, data in control)
        while size:
            size -= len(link.recv(min(size, 1 << 20)))
    print(kind, mine, flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
