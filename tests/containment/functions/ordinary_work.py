"""What functions do that a filter of system calls must not stop."""

import asyncio
import concurrent.futures
import ctypes
import mmap
import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading


def _threads():
    found = []
    threads = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(8))


def _subprocesses():
    done = subprocess.run([sys.executable, "-I", "-c", "print(1)"], capture_output=True, check=True)
    assert done.stdout == b"1\n"
    assert subprocess.run("exit 3", shell=True, check=False).returncode == 3
    assert os.system("true") == 0
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], {})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    subprocess.run(["true"], check=True, start_new_session=True, preexec_fn=lambda: None)


def _double(value):
    return 2 * value


def _pools():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_double, [1, 2, 3]) == [2, 4, 6]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_double, [1, 2])) == [2, 4]


def _event_loop():
    async def main():
        async def answer(reader, writer):
            writer.write(await reader.read(4))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"ping")
        assert await reader.read(4) == b"ping"
        writer.close()
        server.close()
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0

    asyncio.run(main())


def _sockets():
    one, other = socket.socketpair()
    one.sendall(b"x")
    assert other.recv(1) == b"x"
    one.close()
    other.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.sendto(b"x", udp.getsockname())
        assert udp.recv(1) == b"x"
    assert socket.getaddrinfo("127.0.0.1", 80)
    assert socket.if_nameindex()


def _files():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "file")
        with open(path, "w") as file:
            file.write("text")
        os.chmod(path, 0o755)
        os.symlink(path, path + ".link")
        os.link(path, path + ".hard")
        shutil.copytree(directory, directory + ".copy", symlinks=True)
        shutil.rmtree(directory + ".copy")
        with sqlite3.connect(os.path.join(directory, "db")) as database:
            database.execute("pragma journal_mode = wal")
            database.execute("create table t (x)")
        database.close()


def _memory():
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(b"x")  # As just-in-time compilers do.
    called = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)  # libffi's closures.
    assert called() == 7


def _numbers():
    try:
        import numpy
    except ImportError:
        return
    assert (numpy.ones((100, 100)) @ numpy.ones((100, 100)))[0, 0] == 100


def everything(event, context):
    """Do all of it; returns how each went."""
    found = {}
    for work in (_threads, _subprocesses, _pools, _event_loop, _sockets, _files, _memory, _numbers):
        try:
            work()
            found[work.__name__] = "ok"
        except Exception as error:  # noqa: BLE001 - the test tells which and why.
            found[work.__name__] = f"{type(error).__name__}: {error}"
    return found


def pools(event, context):
    """Make process pools and end them, again and again."""
    for _ in range(event):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(_double, [1])


async def pools_in_event_loop(event, context):
    """The same, where the loop hears of signals."""
    pools(event, context)
