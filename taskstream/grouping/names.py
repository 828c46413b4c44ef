"""The cgroups by id, those that are gone included.

Pure. An id is the kernel's: it names one cgroup for as long as the host runs, and is never used
again. So what is learned once stays true, and an event that comes after its cgroup was removed
still finds its name.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace

from taskstream.grouping.cgroup import CONTAINER, Cgroup, classify

__all__ = ["CgroupNames", "NameOf"]

NameOf = Callable[[Cgroup], str | None]
"""Returns the name that an engine has for a container; None if it cannot be told now."""

Scan = Callable[[], Iterable[tuple[int, str]]]
"""Returns id and path of every cgroup that exists."""

TRIES = 3
KEEP_GONE = 4096
KEEP_TOLD = 16_384


class CgroupNames:
    """Knows cgroups by id.

    Args:
        name_of: Asked for the name of each container when it is learned, and, if there was
            none, at the next looks, `TRIES` times in all.
        scan: Asked when an unknown id is looked up, once between two calls of `expire`.
        keep_gone: How many removed cgroups are remembered; the oldest are forgotten.
    """

    def __init__(
        self,
        name_of: NameOf = lambda _cgroup: None,
        *,
        scan: Scan = lambda: (),
        keep_gone: int = KEEP_GONE,
    ) -> None:
        self._name_of = name_of
        self._scan = scan
        self._scanned = False
        self._keep_gone = keep_gone
        self._known: dict[int, Cgroup] = {}
        self._gone: OrderedDict[int, Cgroup] = OrderedDict()
        self._tries: dict[int, int] = {}
        self._told: dict[int, Cgroup] = {}
        self._news: dict[int, Cgroup] = {}

    def learn(self, id_: int, path: str) -> None:
        """Take note of a cgroup, or of its new path.

        Args:
            id_: The inode number of its directory.
            path: From the root of its hierarchy.
        """
        self._gone.pop(id_, None)
        if id_ in self._known and self._known[id_].path == path:
            return
        self._known[id_] = classify(path)
        if self._known[id_].kind == CONTAINER:
            self._tries[id_] = TRIES
            self._ask(id_)

    def learn_all(self, found: Iterable[tuple[int, str]]) -> None:
        """Take note of many."""
        for id_, path in found:
            self.learn(id_, path)

    def refresh(self) -> None:
        """Scan: learn every cgroup that exists, and take note of those that are gone."""
        found = dict(self._scan())
        self.learn_all(found.items())
        if found:
            for id_ in [id_ for id_ in self._known if id_ not in found]:
                self.remove(id_)
        self._scanned = True

    def expire(self) -> None:
        """Let the next look for an unknown id scan again."""
        self._scanned = False

    def remove(self, id_: int) -> None:
        """Take note that a cgroup is gone; its name is kept for a while."""
        cgroup = self._known.pop(id_, None)
        self._tries.pop(id_, None)
        if cgroup is None:
            return
        self._gone[id_] = cgroup
        while len(self._gone) > self._keep_gone:
            self._gone.popitem(last=False)

    def trim(self, most: int) -> None:
        """Take those that were learned first to be gone, where too many are known."""
        for id_ in list(self._known)[: max(0, len(self._known) - most)]:
            self.remove(id_)

    def get(self, id_: int) -> Cgroup | None:
        """Return a cgroup; None for one that was never learned, or forgotten."""
        if id_ in self._tries:
            self._ask(id_)
        if id_ not in self._known and id_ not in self._gone and not self._scanned:
            self.refresh()
        return self._known.get(id_) or self._gone.get(id_)

    def charted(self, id_: int) -> Cgroup | None:
        """Return a cgroup whose name a chart shows; what is new in it is news."""
        cgroup = self.get(id_)
        if cgroup is not None and self._told.get(id_) is not cgroup:
            if len(self._told) >= KEEP_TOLD:
                self._told.clear()  # and told again
            self._told[id_] = self._news[id_] = cgroup
        return cgroup

    def news(self) -> dict[int, Cgroup]:
        """Return the cgroups that charts show for the first time, or by another name, by id."""
        news, self._news = self._news, {}
        return news

    def learn_charted(self, id_: int, path: str, name: str) -> None:
        """Take note of what another one's charts call a cgroup."""
        self._tries.pop(id_, None)
        self._known[id_] = replace(classify(path), name=name)

    def __len__(self) -> int:
        return len(self._known) + len(self._gone)

    def _ask(self, id_: int) -> None:
        name = self._name_of(self._known[id_])
        if name:
            self._known[id_] = replace(self._known[id_], name=name.replace(" ", "_"))
        self._tries[id_] -= 1
        if name or not self._tries[id_]:
            del self._tries[id_]
