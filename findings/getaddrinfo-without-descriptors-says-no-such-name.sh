#!/bin/bash
# glibc 2.36 (Debian 12), getaddrinfo in a process that has no file descriptor left, and has so far looked up addresses
# only (127.0.0.1), and no name.
#
# One would guess: it fails as everything else does then, with EAI_SYSTEM and EMFILE ("Too many open files"), or with
# EAI_AGAIN ("Temporary failure in name resolution"): something that is worth another try.
# True: for a name that is in /etc/hosts it says EAI_NONAME, "Name or service not known", which means that there is no such
# host, for good: who keeps a list of what failed for good puts the host there. A moment later it is found; and in a
# process that has looked up a name before, it is EMFILE. Whether a descriptor could be had must be asked apart, as by
# opening a socket.
#
# Needs python3, and "localhost" in /etc/hosts. Exits 0 while this is so.
set -u
grep -qw localhost /etc/hosts || { echo "localhost is not in /etc/hosts"; exit 2; }
python3 - <<'PY'
import errno, os, platform, resource, socket, sys

print(*platform.libc_ver(), "Python", platform.python_version())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)


def looked_up(limit):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        return socket.getaddrinfo("localhost", 80)[0][4][0]
    except OSError as error:
        return error
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


socket.getaddrinfo("127.0.0.1", 80)
without, then, again = looked_up(free), looked_up(soft), looked_up(free)
print("without a descriptor:", repr(without), "| with one:", repr(then), "| without again:", repr(again))
said_no_name = isinstance(without, socket.gaierror) and without.errno == socket.EAI_NONAME
sys.exit(not (said_no_name and isinstance(then, str) and isinstance(again, OSError) and again.errno == errno.EMFILE))
PY
