"""Every way an item can fail to get into an index: the one table of stable codes.

A code is part of the public interface (failure lists, `--json`, the ingest service): it is never renamed, and its
meaning never changes. Those of captions and metadata are warnings' codes too (see `remarks`). A store may add codes of
its own for a record that it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping

FAILURE_CODES: Mapping[str, str] = {
    # listing a source
    "bad_line": "A row of a list (JSONL, CSV, Parquet) is not a usable one.",
    "bad_caption": "A caption is not UTF-8 text, or is too long.",
    "bad_metadata": "A metadata field has a name or a value that no index can keep.",
    "bad_document": "A document of an index has no picture in the field, or one that cannot be read.",
    "bad_member": "A member of a tar shard is a device, a link to what is not in it, or its name is too long.",
    "broken_shard": "A tar shard, Parquet or NumPy file is damaged, or written in a way that is not read: what comes "
    "after is not known.",
    "duplicate_id": "A row has the id (or, without ids, the path) of an earlier row; the earlier one counts.",
    "unsupported_address": "The picture's address is of a kind that is not read, such as ftp:.",
    "unreadable_folder": "A folder inside the source cannot be listed.",
    "link_outside": "A symbolic link leads out of the folder.",
    "symlink_loop": "A symbolic link leads to itself.",
    "not_allowed": "Of a job made over HTTP: the file or address is not among what ingest.sources allows.",
    # reading a file
    "file_missing": "There is no file at the path (or it went away).",
    "unreadable_file": "The file cannot be read: permissions, or the disk.",
    "not_a_file": "The path is a folder, a device or a named pipe.",
    "empty_file": "The file, or the answer, has zero bytes.",
    "too_large": "The file, or the answer, has more bytes than the limit.",
    # fetching a URL
    "bad_url": "The URL cannot be understood, or has a user or password in it.",
    "host_unknown": "The URL's host has no address.",
    "address_refused": "The URL, or a redirect, leads to an address that is not public and not on the allow-list.",
    "port_refused": "The URL, or a redirect, leads to a system's port that is not one of the web's.",
    "robots_forbidden": "The host's robots.txt asks to leave it alone (only with ingest.fetch.robots).",
    "host_unreachable": "The host cannot be connected.",
    "tls_failed": "The host's certificate is not one that can be trusted for its name.",
    "fetch_timeout": "Fetching took longer than the limit.",
    "connection_broken": "The answer broke off.",
    "bad_response": "The answer is no HTTP, has a status that means nothing here, or is packed in an unknown way.",
    "too_many_redirects": "More redirects than the limit.",
    "url_not_found": "The host says that there is no such thing (404, 410).",
    "url_forbidden": "The host does not let us have it (401, 402, 403, 407, 451).",
    "server_busy": "The host asks to come back later (429, 503), later than the limit, or again and again.",
    "server_error": "The host reports an error of its own (another 5xx).",
    # decoding a picture
    "not_a_picture": "The content is no picture, whatever the name says.",
    "unsupported_format": "A picture, in a format that is not on the allow-list.",
    "truncated_picture": "The picture ends too early.",
    "broken_picture": "The picture is damaged in another way.",
    "too_many_pixels": "More pixels than the limit: a decompression bomb, or a very large picture.",
    "side_too_long": "A side of the picture is longer than the limit.",
    "out_of_memory": "Decoding needs more memory than a decoder may have.",
    "decode_timeout": "Decoding took longer than the limit, and was ended.",
    "decoder_died": "The decoder process died of this picture.",
    # encoding and writing
    "bad_vector": "A vector that was brought along is zero, not finite, missing, or not of the encoder's dimension.",
    "encoding_failed": "The encoder gave no usable embedding for the picture.",
    "gave_up": "The worker died each time it had the picture in hand, as often as it may.",
    "record_vanished": "Another process removed the record while its caption or metadata was being updated.",
}
