"""The app in a network namespace without routes: whatever it, its decoders or its jobs want outside fails, and is counted.

    python -m tests.hardness.nowhere --server.port PORT        started as `make app` starts it, reached on that port

The listening socket is made before the namespace and is inherited into it, so that this process takes connections of
the machine's own network, and passes them on to the app within. A program inside sees a loopback interface and
nothing else.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

# <linux/sockios.h> and <net/if.h>
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# What a process gets that wants to leave (ENETUNREACH), and datagrams: a name server may be on loopback, and nothing of
# the app sends any.
_COUNTED = {"Ip": "OutNoRoutes", "Udp": "OutDatagrams"}, {"Ip6OutNoRoutes", "Udp6OutDatagrams"}
_CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"  # RFC 5737: an address that nobody has
_LOOK_UP = "import socket; socket.getaddrinfo('egress.example', 80)"


def reason_against() -> str:
    """Why no namespace can be made on this machine; empty where one can."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter of util-linux are not on this machine"
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else ""


def attempts(pid: int) -> int:
    """How often a way outside was asked for in the namespace of a process, since it was made."""
    ip4, ip6 = _COUNTED
    lines = [line.split() for line in Path(f"/proc/{pid}/net/snmp").read_text(encoding="utf-8").splitlines()]
    count = 0
    for titles, values in zip(lines[::2], lines[1::2], strict=True):
        wanted = ip4.get(titles[0].rstrip(":"))
        count += int(values[titles.index(wanted)]) if wanted else 0
    rows = (line.split() for line in Path(f"/proc/{pid}/net/snmp6").read_text(encoding="utf-8").splitlines())
    return count + sum(int(value) for name, value in rows if name in ip6)


def control(pid: int) -> int:
    """Which of two deliberate attempts inside `attempts` sees: a connection, and a look-up of an unknown name.

    A machine that looks names up through a Unix socket (nscd, nss-resolve) has 1: such look-ups are not seen.
    """
    seen = 0
    own = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    for code in (_CONNECT, _LOOK_UP):
        before = attempts(pid)
        command = ["nsenter", "--target", str(pid), "--net", *own, sys.executable, "-c", code]
        failed = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=120, check=False).returncode
        seen += bool(failed) and attempts(pid) > before
    return seen


def _unshare() -> list[str]:
    return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
        writer.write_eof()


async def _relay(listener: socket.socket, port: int, app: subprocess.Popen) -> None:
    """Pass connections on until the app ends or this process is told to."""

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            within = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_copy(reader, within[1]), _copy(within[0], writer))
            within[1].close()
        writer.close()

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    server = await asyncio.start_server(passed_on, sock=listener)
    while not told.is_set() and app.poll() is None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), 0.5)
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server.port", dest="port", type=int, required=True)
    parser.add_argument("--listener", type=int)
    known, options = parser.parse_known_args()
    if known.listener is None:  # outside: the process becomes the one within, which keeps its number
        listener = socket.create_server(("127.0.0.1", known.port))
        listener.set_inheritable(True)
        module = [sys.executable, "-m", "tests.hardness.nowhere", "--listener", str(listener.fileno())]
        # Behind a proxy on loopback, an attempt would not look like one.
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        os.execvpe("unshare", [*_unshare(), *module, *sys.argv[1:]], environment)
    _raise_loopback()
    command = [sys.executable, "-m", "kidney_core.app.serve", "--server.port", str(known.port), *options]
    app = subprocess.Popen(command)
    try:
        asyncio.run(_relay(socket.socket(fileno=known.listener), known.port, app))
    finally:
        app.terminate()
        app.wait(timeout=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
