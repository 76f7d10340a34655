"""Python models that fail in every way, and archives that cannot be used."""

from __future__ import annotations

import functools
import io
import tarfile
import zipfile
from collections.abc import Callable

from campaign.broken.request import Chance

_RETURNED = (
    "float('nan')", "float('inf')", "b'bytes'", "{1, 2}", "object()", "lambda: 1", "10**5000", "10**400", "-0.0", "1e308", "{'a': float('nan')}", "{1: 2}", "{None: 1}",
    "[0] * 250_000", "'x' * 9_000_000", "'\\ud800'", "'\\0'", "{'\\ud800': 1}", "{'$file': {'path': '/etc/passwd', 'media_type': 'a/b'}}", "{'$file': 'x'}", "iter(())",
    "{'files': 1}", "{'files': [{'artifact_id': 'x'}]}", "{'units': -1}", "{'processing_time': 'x', 'units': 1e300}", "None", "True", "type('L', (list,), {})([1])",
    "__import__('collections').UserDict(a=1)", "__import__('decimal').Decimal('1')", "__import__('datetime').datetime.now()", "(x for x in range(3))", "ValueError('x')",
    "type('S', (str,), {'__str__': lambda s: 1/0})('x')", "type('I', (int,), {'__index__': lambda s: 1/0})(3)", "Ellipsis", "{'value': 1, 'files': []}",
)  # fmt: skip

_DONE = {
    "raises": "raise ValueError('x' * 100_000)",
    "raises strangely": "raise type('\\ud800', (BaseException,), {'__str__': lambda self: 1 / 0})()",
    "raises a group": "raise BaseExceptionGroup('g', [KeyboardInterrupt(), SystemExit(0)])",
    "exits": "import sys; sys.exit(0)",
    "exits at once": "import os; os._exit({status})",
    "kills itself": "import os, signal; os.kill(os.getpid(), {signal})",
    "kills its group": "import os; os.killpg(0, {signal})",
    "kills everybody": "import os; os.kill(-1, {signal}); return 1",
    "kills its parent": "import os; os.kill(os.getppid(), {signal}); import time; time.sleep(1); return 1",
    "recursion": "return predict(input)",
    "deep recursion": "import sys; sys.setrecursionlimit(10**9); f = lambda n: f(n + 1); return f(0)",
    "deep value": "v = []\n    for _ in range(100_000): v = [v]\n    return v",
    "cyclic value": "v = []; v.append(v); return v",
    "shared value": "v = [0]\n    for _ in range(30): v = [v, v]\n    return v",
    "reads null": "import ctypes; ctypes.string_at(0)",
    "never ends": "while True: pass",
    "sleeps": "import time; time.sleep(10**6)",
    "takes memory": "v = []\n    while True: v.append(bytearray(10**7))",
    "one large block": "return len(bytearray(2**36))",
    "forks": "import os\n    while True: os.fork()",
    "starts threads": "import threading, time\n    while True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "leaves a child": "import subprocess; subprocess.Popen(['sleep', '300'], start_new_session=True); return 1",
    "leaves a thread": "import threading, time; threading.Thread(target=time.sleep, args=(300,)).start(); return 1",
    "fills the disk": "f = open('x', 'wb')\n    while True: f.write(bytes(2**20))",
    "sparse file": "open('x', 'wb').truncate(2**42); return 1",
    "many files": "import os\n    for n in range(50_000): open(f'f{{n}}', 'w').close()\n    return 1",
    "deep folders": "import os\n    for n in range(900): os.mkdir('d'); os.chdir('d')\n    open('x', 'w').close(); return 1",
    "strange names": "for n in [b'a\\nb', b'\\xff\\xfe', b' ', b'-rf', b'x' * 255, b'\\x1b[2J', '\\u202e.png'.encode(), b'a\\\\b', b'CON', b'...']:\n        open(n, 'wb').write(b'1')\n    return 1",
    "links": "import os; os.symlink('/etc/passwd', 'a'); os.symlink('/', 'b'); os.symlink('c', 'c'); open('d', 'w').close(); os.link('d', 'e'); return 1",
    "pipes": "import os; os.mkfifo('pipe'); return 1",
    "sockets": "import socket; s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen(); return 1",
    "unreadable": "import os; open('a', 'w').write('x'); os.chmod('a', 0); os.mkdir('d'); os.chmod('d', 0); os.chmod('.', 0); return 1",
    "removes its folder": "import os, shutil; shutil.rmtree(os.getcwd(), ignore_errors=True); return 1",
    "closes everything": "import os; os.closerange(0, 1000); return 1",
    "writes everywhere": "import os\n    for n in range(64):\n        try: os.write(n, b'\\xff' * 5000)\n        except OSError: pass\n    return 1",
    "prints much": "for _ in range(3000): print('x' * 9000)\n    return 1",
    "prints strangely": "import sys; sys.stdout.buffer.write(b'\\0\\xff\\x1b[2J' * 500); print('\\ud800'.encode('utf-8', 'surrogatepass')); return 1",
    "patches modules": "import json, os, builtins, sys; json.dumps = None; os.write = None; builtins.len = None; sys.modules.clear(); return 1",
    "replaces stdout": "import sys; sys.stdout = sys.stderr = sys.__stdout__ = None; return 1",
    "ignores signals": "import signal, time\n    for n in range(1, 32):\n        try: signal.signal(n, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    time.sleep(300)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "hangs at exit": "import atexit, time; atexit.register(time.sleep, 300); return 1",
    "connects": "import socket; socket.create_connection(('127.0.0.1', 9), 2)",
    "changes limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); resource.setrlimit(resource.RLIMIT_CPU, (0, 0)); return 1",
    "raises in a thread": "import threading, os; threading.Thread(target=lambda: os._exit(5)).start(); return 1",
    "deletes its program": "import os; os.unlink(__file__); return 1",
    "is a generator": "yield 1",
}  # fmt: skip

_SOURCES: dict[str, bytes] = {
    "syntax error": b"def predict(:\n",
    "no function": b"x = 1\n",
    "function is a number": b"predict = 3\n",
    "other arguments": b"def predict(): return 1\n",
    "asynchronous": b"async def predict(input, **p): return 1\n",
    "NUL in the source": b"def predict(input):\n    return '\0'\n",
    "no UTF-8": b"def predict(input):\n    return '\xff\xfe'\n",
    "unknown encoding": b"# -*- coding: rot-nothing -*-\ndef predict(input): return 1\n",
    "empty": b"",
    "huge literal": b"x = " + b"(" * 5000 + b")" * 5000 + b"\n",
    "imports what is missing": b"import no_such_module\ndef predict(input): return 1\n",
    "exits on import": b"import sys\nsys.exit(3)\n",
    "ends on import": b"import os\nos._exit(0)\n",
    "endless import": b"while True: pass\n",
    "shadows a module": b"import json, sys\nsys.modules['os'] = None\ndef predict(input): return 1\n",
    "byte code": b"\xa7\r\r\n" + bytes(200),
    "class": b"class predict:\n    def __init__(self, input, **p): raise SystemExit('x')\n",
}


def _done(chance: Chance) -> tuple[str, bytes]:
    kind = chance.choice(list(_DONE))
    words = (
        _DONE[kind]
        .replace("{status}", str(chance.choice((0, 1, 137, 255))))
        .replace("{signal}", str(chance.choice((6, 9, 11, 15, 19))))
    )
    return (
        kind,
        f"def predict(input=None, **parameters):\n    {words.replace('{{', '{').replace('}}', '}')}\n".encode(),
    )


def _returned(chance: Chance) -> tuple[str, bytes]:
    value = chance.choice(_RETURNED)
    return f"returns {value[:40]}", f"def predict(input=None, **parameters):\n    return {value}\n".encode()


def _source(chance: Chance) -> tuple[str, bytes]:
    kind = chance.choice(list(_SOURCES))
    return kind, _SOURCES[kind]


def program(chance: Chance) -> tuple[str, bytes]:
    """Draw a program. Returns what is wrong with it, and its source."""
    kinds: list[Callable[[Chance], tuple[str, bytes]]] = [_done, _done, _returned, _source]
    return chance.choice(kinds)(chance)


GOOD = b"def predict(input=None, **parameters):\n    return {'answer': 42}\n"
_NAMES = (
    "../escape.py", "/etc/cron.d/x", "a/../../b", "a\\b.py", "CON", "x" * 255, "x" * 300, "d/" * 120 + "f", "\u202egnp.exe", "a\nb", " ", ".", "..", "-rf", "model.py/x", "\u00e9.py", "a" * 3,
)  # fmt: skip


def _zip(*files: tuple[str, bytes]) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stored.getvalue()


def _tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode=mode) as archive:  # type: ignore[call-overload]  # a mode that is drawn
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stored.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@functools.cache
def _zip_bomb() -> bytes:
    return _zip(("model.py", GOOD), *((f"zeros{number}", bytes(60_000_000)) for number in range(3)))


@functools.cache
def _many_members() -> bytes:
    return _zip(("model.py", GOOD), *((f"f{number}", b"") for number in range(4000)))


def _strange_zip(chance: Chance) -> bytes:
    names = chance.sample(_NAMES, 3)
    return _zip(("model.py", GOOD), *((name, b"x") for name in [*names, names[0]]))


def _strange_tar(chance: Chance) -> bytes:
    kinds = (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.REGTYPE,
        b"9",
    )
    strange = _member(
        chance.choice(_NAMES),
        chance.choice(kinds),
        chance.choice(("/etc/passwd", "../..", "model.py", "")),
        chance.choice((0, 0o7777, 0o644)),
    )
    model = _member("model.py", chance.choice((tarfile.REGTYPE, tarfile.SYMTYPE)), "/etc/passwd")
    return _tar((strange, b""), (model, GOOD), mode=chance.choice(("w", "w:gz", "w:bz2", "w:xz")))


def _damaged(chance: Chance) -> bytes:
    data = chance.choice(
        (
            _zip(("model.py", GOOD)),
            _tar((_member("model.py"), GOOD)),
            _tar((_member("model.py"), GOOD), mode="w"),
        )
    )
    at = chance.randrange(len(data))
    return chance.choice(
        (
            data[:at],
            data[:at] + chance.randbytes(9) + data[at + 9 :],
            data + data,
            chance.randbytes(300) + data,
        )
    )


def archive(chance: Chance) -> tuple[str, bytes]:
    """Draw an archive. Returns what is wrong with it, and the file."""
    kinds: dict[str, Callable[[Chance], bytes]] = {
        "strange names in a zip": _strange_zip,
        "strange members of a tar": _strange_tar,
        "damaged archive": _damaged,
        "bomb": lambda _: _zip_bomb(),
        "many members": lambda _: _many_members(),
        "without the entrypoint": lambda _: _zip(("other.py", GOOD)),
        "empty archive": lambda _: _zip(),
        "folder as the entrypoint": lambda _: _zip(("model.py/", b"")),
        "wrong requirements": lambda _: _zip(
            ("model.py", GOOD), ("requirements.txt", b"-r /etc/passwd\n\xff\n")
        ),
    }
    kind = chance.choice(list(kinds))
    return kind, kinds[kind](chance)
