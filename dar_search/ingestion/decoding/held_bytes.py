"""Bytes in memory that another process of this user reads as a file: nothing is left behind when this one is killed."""

from __future__ import annotations

import os
import sys
import tempfile


class HeldBytes:
    """A file of these bytes until `close`: on Linux in memory and gone with this process, elsewhere a temporary one.

    Attributes:
        path: what another process opens.
    """

    def __init__(self, data: bytes) -> None:
        self._temporary = ""
        if sys.platform == "linux":
            self._descriptor = os.memfd_create("dar-picture", os.MFD_CLOEXEC)
            self.path = b"/proc/%d/fd/%d" % (os.getpid(), self._descriptor)
        else:
            self._descriptor, self._temporary = tempfile.mkstemp(prefix="dar-picture-")
            self.path = os.fsencode(self._temporary)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._descriptor)
        if self._temporary:
            os.unlink(self._temporary)  # noqa: PTH108  # made by tempfile as text
