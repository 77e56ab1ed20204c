"""A decoder process: reads the paths of pictures, answers with decoded ones. Started by `decoders`; no torch here.

It is expendable. Its memory is limited, it writes no files, it opens only what it is told to read and what may be
read, and it ends when the process that started it ends, however that one ends.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from dar_search.errors import OutOfResources, PictureError
from dar_search.ingestion.decoding.decode import DecodedPicture, decode
from dar_search.ingestion.decoding.limits import DecodeLimits
from dar_search.ingestion.decoding.wire import Message, Unpacker
from dar_search.ingestion.sources.allowance import EVERYTHING, Allowance
from dar_search.ingestion.sources.files import read_file
from dar_search.preparation import Preparation

Decode = Callable[[bytes, Preparation, DecodeLimits], DecodedPicture]
_PR_SET_PDEATHSIG = 1
_MAX_STDERR_BYTES = 1 << 20
# The encoder comes first where both want a core: its threads wait for each other, and one that has lost its core to a
# decoder holds up all of them. Decoders use what it leaves, and lose nothing where it waits for them.
_NICENESS = 10


def main(decode_picture: Decode = decode) -> None:
    """Answers until standard input closes. `decode_picture` is what it does with each file's bytes."""
    requests = os.dup(0)
    answers = os.dup(1)
    # A library that prints must not write into the answers.
    os.dup2(2, 1)
    unpacker = Unpacker()
    setup = _receive(requests, unpacker)
    if setup is None:
        return
    _end_with_parent(setup.fields["parent"], requests)
    preparation = Preparation(**setup.fields["preparation"])
    limits = DecodeLimits(**setup.fields["limits"])
    allowance = Allowance.of_fields(setup.fields["allowance"])
    _confine(limits)
    _send(answers, Message({"status": "ready"}))
    while (request := _receive(requests, unpacker)) is not None:
        _send(answers, _answer(request.fields, preparation, limits, decode_picture, allowance))


def _answer(
    request: dict[str, Any],
    preparation: Preparation,
    limits: DecodeLimits,
    decode_picture: Decode,
    allowance: Allowance,
) -> Message:
    try:
        path, start, length = request["path"].encode("latin-1"), request["start"], request["length"]
        may = EVERYTHING if request["held"] else allowance  # held: the bytes are the asking process's own
        data = read_file(path, limits.max_bytes, start=start, length=length, allowance=may)
        digest = hashlib.sha256(data).hexdigest()
        if digest == request["known"]:
            return Message({"status": "same"})
        picture = decode_picture(data, preparation, limits)
    except OutOfResources as short:
        return _short(short)
    except PictureError as error:
        if (short_of := OutOfResources.of(error)) is not None:
            return _short(short_of)
        if error.code == "too_large":
            error = limits.too_large(error)
        return Message({"status": "failed", "code": error.code, "message": str(error)})
    except MemoryError:
        failure = limits.out_of_memory()
        return Message({"status": "failed", "code": failure.code, "message": str(failure)})
    fields = {"status": "decoded", "sha256": digest, "width": picture.width, "height": picture.height}
    return Message(fields, picture.fitted.tobytes(), picture.thumbnail)


def _short(error: OutOfResources) -> Message:
    """No fault of the picture's."""
    return Message({"status": "short", "message": error.message, "hint": error.hint})


def _receive(descriptor: int, unpacker: Unpacker) -> Message | None:
    while (message := unpacker.next()) is None:
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return None
        unpacker.feed(piece)
    return message


def _send(descriptor: int, message: Message) -> None:
    rest = memoryview(message.pack())
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _end_with_parent(parent: int, requests: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # Where there is no such signal, the closed pipe says the same, unless a decoder hangs in native code.
    threading.Thread(target=_exit_on_hangup, args=(requests,), daemon=True).start()


def _exit_on_hangup(requests: int) -> None:
    hangup = select.poll()
    hangup.register(requests, 0)
    hangup.poll()
    os._exit(0)


def _confine(limits: DecodeLimits) -> None:
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_STDERR_BYTES, _MAX_STDERR_BYTES))
    os.nice(_NICENESS)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, used + limits.memory_bytes)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (ceiling, ceiling))


if __name__ == "__main__":
    main()
