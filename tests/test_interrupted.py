"""Processes that are killed, with no chance to tidy up: the next one goes on, or begins anew, and never with a half."""

import hashlib
import http.server
import subprocess
import sys
import threading
import time

from helpers import storage


def wait_until(condition, process, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.05)


FETCH = """
import sys, urllib.request
from helpers import storage
storage._open = lambda *arguments: urllib.request.urlopen(sys.argv[1])
storage.download("https://example.org/mnist.npz", sys.argv[2], sys.argv[3])
"""


def test_a_killed_download_leaves_nothing_that_is_taken_for_the_file(alone):
    content = bytes(range(256)) * 1000
    go_on = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", len(content))
            self.end_headers()
            self.wfile.write(content[:150_000])
            go_on.wait(60)
            try:
                self.wfile.write(content[150_000:])
            except OSError:  # nobody is there any more
                pass

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = storage.CACHE / "mnist.npz"
    address, digest = f"http://127.0.0.1:{server.server_port}/", hashlib.sha256(content).hexdigest()
    command = [sys.executable, "-c", FETCH, address, path, digest]
    try:
        process = subprocess.Popen(command, cwd=storage.PROJECT)
        wait_until(lambda: sum(file.stat().st_size for file in storage.CACHE.glob(".*")) > 0, process, 30)
        process.kill()
        assert process.wait(20) == -9
        assert not path.exists() and storage.find_local("mnist.npz") is None
        assert [file.name[0] for file in storage.CACHE.iterdir()] == ["."]
        go_on.set()
        assert subprocess.run(command, cwd=storage.PROJECT, timeout=60).returncode == 0
    finally:
        go_on.set()
        server.shutdown()
        server.server_close()
    assert path.read_bytes() == content and storage.find_local("mnist.npz") == path
