"""As the project's own decoder process (`decoding.decoder_process`), that a picture's bytes can crash, hang or corrupt.

No file is known that crashes the current decoders, so the content says what such a file would do. Everything around
the decoding is the real thing.
"""

import ctypes
import errno
import os
import signal
import sys
from pathlib import Path

from PIL import Image

from dar_search.errors import PictureError
from dar_search.ingestion.decoding import decoder_process
from dar_search.ingestion.decoding.decode import DecodedPicture, DecodeLimits, decode
from dar_search.preparation import Preparation

MARK = b"hostile:"
COMMAND = (sys.executable, "-P", "-m", "tests.hostile_decoder")


def hostile(does: str) -> bytes:
    """The content of a file that makes this decoder do something."""
    return MARK + does.encode()


def decode_or_misbehave(data: bytes, preparation: Preparation, limits: DecodeLimits) -> DecodedPicture:
    if not data.startswith(MARK):
        return decode(data, preparation, limits)
    does, _, argument = data.removeprefix(MARK).decode().partition(" ")
    if does == "segfault":
        ctypes.string_at(0)
    elif does == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif does == "exit":
        print("the last words", flush=True)
        os._exit(3)
    elif does == "hang":
        # In native code that keeps Python's lock, so that no thread of the process can do anything.
        libc = ctypes.PyDLL(None)
        Path(argument).write_text(str(os.getpid())) if argument else None
        while True:
            libc.pause()
    elif does == "eat":
        bytearray(1 << 40)
    elif does == "babble":
        os.write(int(argument), b"\xff" * 1_000)
    elif does == "short":
        error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        raise PictureError("broken_picture", "As `decode` says of any error.") from error
    elif does == "lie":
        return DecodedPicture(Image.new("RGB", (5, 3)), b"", 5, 3)
    raise AssertionError(does)


if __name__ == "__main__":
    decoder_process.main(decode_or_misbehave)
