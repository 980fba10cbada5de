# SPDX-License-Identifier: BSD-3-Clause
"""A learning switch between QEMU's unix datagram sockets: switch.py DIR PORTS. Port i reads from
DIR/switch<i> and sends to DIR/guest<i>. Sending blocks while the guest's queue is full: that is the
back-pressure without which soft-RoCE drowns in retries. A guest that takes nothing for a while loses
frames, as at any switch. Commands on stdin, each answered by a line: cut N, join N.
"""

import errno
import os
import selectors
import socket
import struct
import sys

BROADCAST = b"\xff\xff\xff\xff\xff\xff"
BLOCK_US = 300000
FRAME_MAX = 65536


def main():
    directory, nports = sys.argv[1], int(sys.argv[2])
    ports, stations, cut = [], {}, set()
    selector = selectors.DefaultSelector()
    for i in range(nports):
        port = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        port.bind(os.path.join(directory, f"switch{i}"))
        port.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, BLOCK_US))
        ports.append(port)
        selector.register(port, selectors.EVENT_READ, i)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    targets = [os.path.join(directory, f"guest{i}") for i in range(nports)]
    print("ready", flush=True)

    def send(to, frame):
        if to in cut:
            return
        try:
            ports[to].sendto(frame, targets[to])
        except OSError as error:
            # Not started yet, gone, or stopped.
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS):
                raise

    while True:
        for key, _ in selector.select():
            if key.data is None:
                line = sys.stdin.readline().split()
                if not line:
                    return
                (cut.add if line[0] == "cut" else cut.discard)(int(line[1]))
                print("done", flush=True)
                continue
            source = key.data
            frame = ports[source].recv(FRAME_MAX)
            if source in cut:
                continue
            stations[frame[6:12]] = source
            to = stations.get(frame[:6])
            if to is None or frame[0] & 1:
                for other in range(nports):
                    if other != source:
                        send(other, frame)
            elif to != source:
                send(to, frame)


if __name__ == "__main__":
    main()
