#!/bin/bash
# SQLite, here the one that apsw 3.54.1.0 carries.
#
# One would guess: a SELECT that meets a damaged page fails (SQLITE_CORRUPT), and the transaction goes on: what is written
# to other, sound tables goes in, as it does outside a transaction.
# True: once a read inside BEGIN ... has met damage, SQLite refuses every write of that transaction with SQLITE_CORRUPT
# ("database disk image is malformed"), to sound tables and to temporary ones too; and COMMIT, also of a transaction that
# only read, is refused and rolls back what was written before the read. Whatever saves the rest of a damaged file, or
# leaves a mark of what cannot be read, has to read with another connection than the one that writes.
#
# Needs python3 with venv. Exits 0 while this is so.
set -u
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; cd "$T" || exit 2
python3 -m venv venv && venv/bin/pip install --quiet apsw==3.54.1.0 || exit 2
cat > look.py <<'PY'
import apsw

print("apsw", apsw.apsw_version(), "SQLite", apsw.sqlite_lib_version())
made = apsw.Connection("file.sqlite")
made.execute("CREATE TABLE damaged (key INTEGER PRIMARY KEY, text TEXT); CREATE TABLE sound (key INTEGER PRIMARY KEY)")
made.executemany("INSERT INTO damaged VALUES (?, hex(zeroblob(400)))", [(key,) for key in range(100)])
size = made.execute("PRAGMA page_size").fetchone()[0]
made.close()
with open("file.sqlite", "r+b") as file:  # zeros over a page amid the table's
    file.seek(10 * size)
    file.write(bytes(size))


def tried(connection, sql):
    try:
        connection.execute(sql).fetchall()
    except apsw.CorruptError:
        return "refused"
    return "done"


def after_damage(*statements):
    """What becomes of each after a read has met damage, in one transaction or (no BEGIN) in none."""
    connection = apsw.Connection("file.sqlite")
    found = []
    for sql in statements:
        found.append(tried(connection, sql))
    connection.close()
    return found


READ, WRITE = "SELECT sum(length(text)) FROM damaged", "INSERT INTO sound VALUES (NULL)"
outside = after_damage(READ, WRITE)
inside = after_damage("BEGIN", WRITE, READ, WRITE, "CREATE TEMP TABLE mark (key)", "COMMIT", WRITE)
rows = apsw.Connection("file.sqlite").execute("SELECT count(*) FROM sound").fetchall()[0][0]
print("no transaction: read, write:", *outside)
print("BEGIN, write, read, write, temporary table, COMMIT, write:", *inside)
print("rows written:", rows)
refused = ["refused"] * 4
raise SystemExit((outside, inside, rows) != (["refused", "done"], ["done", "done", *refused, "done"], 2))
PY
venv/bin/python look.py
