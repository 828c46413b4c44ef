"""Events as Kafka messages of their own.

Pure: no I/O, no clock. The shape is described in ``docs/messages.md``; the columns come
from ``taskstream.record``. Nothing here loops over events in Python, except to give exec
events their arguments and to slice one ``bytes`` per event.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from taskstream import record
from taskstream.batch import Batch, Label, Origin, take
from taskstream.message.argv import pack_argvs
from taskstream.message.columns import (
    SHORT_TEXT,
    Column,
    RowTemplate,
    pack,
    pack_utf8,
    pack_utf8s,
    slices,
)
from taskstream.message.message import (
    Messages,
    ascii_comms,
    comm_of,
    event_keys,
    exec_raws,
    exec_texts,
    marked,
    stamps_ms,
)
from taskstream.message.shape import (
    ESCAPED,
    Group,
    columns_of,
    derived,
    groups_of,
    hidden_fields,
)
from taskstream.record import FLAGS
from taskstream.text import escape, split_argv

__all__ = ["EventEncoder"]

_ARGS_LOST = FLAGS["args_lost"].mask
COMM_BYTES = 16

MANY_EXECS = 64
"""From how many on arrays cost less than a look at each."""


class EventEncoder:
    """Encodes batches of one origin, one message per event."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._known: dict[str, str | int] = {
            "host": origin.host,
            "boot_id": origin.boot_id,
            "run_ns": origin.run_ns,
        }
        self._templates: dict[tuple[str, int, str | None, bool], RowTemplate] = {}

    def _template(self, group: Group, *, labelled: bool) -> RowTemplate:
        """Return the rows of a group; what differs from row to row in length is appended."""
        key = (group.kind, group.flags, group.call, labelled)
        if key not in self._templates:
            texts = record.text_fields(group.kind)
            hidden = hidden_fields(group.kind, group.flags)
            appended = {f.name for f in texts if f.kinds and f.name not in hidden}
            appended |= set(Label._fields) if labelled else set()
            columns = columns_of(group.kind, group.flags, group.call)
            columns = [replace(c, constant=self._known.get(c.name, c.constant)) for c in columns]
            columns += [
                Column(f.wire, constant=self._known.get(f.name))
                for f in texts
                if not f.kinds and f.name != "comm" and f.name not in appended
            ]
            columns.append(Column("comm", SHORT_TEXT))
            self._templates[key] = RowTemplate(columns, more=len(appended))
        return self._templates[key]

    def encode(self, batch: Batch) -> Messages:
        """Encode a batch.

        Returns:
            One message per event, in the order of the batch. The key is the host and the
            identity of the process, so one process stays in order in one partition.
        """
        if ascii_comms(batch.records):
            with suppress(UnicodeDecodeError):
                return self._encode(batch, batch.records, escaping=False)
        return self._encode(batch, marked(batch), escaping=True)

    def _encode(self, batch: Batch, records: NDArray[np.void], *, escaping: bool) -> Messages:
        order, groups = groups_of(records)
        records = take(records, order)
        columns = derived(records, batch.wall_offset_ns)
        labels = _packed_labels(batch, order)
        listed: list[bytes] = []
        for group in groups:
            rows = records[group.rows]
            template = self._template(group, labelled=bool(labels))
            matrix = template.encode(rows, columns[group.rows])
            messages = slices(matrix)
            if escaping:
                for row in np.flatnonzero(rows["flags"] & ESCAPED).tolist():
                    head = matrix[row, : -1 - COMM_BYTES].tobytes()
                    messages[row] = head + pack(escape(comm_of(rows["comm"][row])))
            if labels:
                messages = list(map(bytes.__add__, messages, labels[group.rows]))
            if group.kind == "exec" and not group.flags & _ARGS_LOST:
                messages = list(map(bytes.__add__, messages, _packed_execs(batch, rows)))
            listed += messages
        if len(groups) > 1:
            place = np.empty(len(listed), np.intp)
            place[order] = np.arange(len(listed))
            listed = list(itemgetter(*place.tolist())(listed))
        return Messages(listed, event_keys(batch), stamps_ms(batch).tolist(), [batch.records])


def _packed_labels(batch: Batch, order: NDArray[np.intp]) -> list[bytes]:
    """Return the members of each event's label, in another order; none where nobody looked."""
    if batch.labels is None:
        return []
    packed = list(map(_packed_label, batch.labels.table))
    return list(map(packed.__getitem__, batch.labels.rows[order].tolist()))


@lru_cache(maxsize=4096)
def _packed_label(label: Label) -> bytes:
    return b"".join([pack(name) + pack(value) for name, value in label._asdict().items()])


def _packed_execs(batch: Batch, execs: NDArray[np.void]) -> Iterator[bytes]:
    filenames, argvs, places = _packed_args(batch, execs)
    for filename, (start, end) in zip(filenames, pairwise(places), strict=True):
        yield _FILENAME + filename + _ARGV + argvs[start:end]


_FILENAME, _ARGV = pack("filename"), pack("argv")


def _packed_args(batch: Batch, execs: NDArray[np.void]) -> tuple[list[bytes], bytes, Sequence[int]]:
    """Return filenames and argvs of execs, packed.

    Returns:
        Each filename; the argvs end to end; where each begins, and the end of the last.
    """
    if (execs["flags"] & ESCAPED).any():
        texts = list(exec_texts(batch, execs))
        filenames, packed = [name for name, _ in texts], [pack_utf8s(args) for _, args in texts]
    else:
        filenames, argvs = exec_raws(batch, execs)
        if len(execs) >= MANY_EXECS:
            joined, starts = pack_argvs(argvs)
            return list(map(_packed_filename, filenames)), joined, starts.tolist()
        packed = [pack_utf8s(split_argv(argv)) for argv in argvs]
    places = list(accumulate(map(len, packed), initial=0))
    return list(map(_packed_filename, filenames)), b"".join(packed), places


_packed_filename = lru_cache(maxsize=4096)(pack_utf8)
