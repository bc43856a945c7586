"""A service manager's end of NOTIFY_SOCKET: prints every datagram as a line of JSON, with the pid of who sent it.

notify_socket.py ADDRESS   (a path, or @ and an abstract name)
"""
import json
import socket
import struct
import sys

address = sys.argv[1]
end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
end.bind("\0" + address[1:] if address.startswith("@") else address)
print(json.dumps({"text": "listening"}), flush=True)
while True:
    text, ancillary, _, _ = end.recvmsg(65536, socket.CMSG_SPACE(12))
    pid, _, _ = struct.unpack("iii", ancillary[0][2])
    print(json.dumps({"pid": pid, "text": text.decode()}), flush=True)
