"""One kind of configured thing in memory: found by (tenant, id), listed newest first."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from orderwire.errors import Malformed
from orderwire.model import ApiKey, Destination, EventType, Source, Tenant
from orderwire.service.sealing import Path
from orderwire.store.base import Page

Configured = Tenant | ApiKey | Destination | Source | EventType
C = TypeVar("C", bound=Tenant | ApiKey | Destination | Source | EventType)
Place = tuple[str, str]  # tenant, id
_Rank = tuple[int, str]  # created_at, id: the order of lists and the content of their cursors


@dataclass(frozen=True, slots=True)
class Held(Generic[C]):
    """A value with the version its row has in the store."""

    value: C
    version: int


class Table(Generic[C]):
    """All values of one kind. `group` says in whose list a value stands; `secrets` where its secrets are."""

    def __init__(
        self,
        kind: str,
        struct: type[C],
        place: Callable[[C], Place],
        group: Callable[[C], str],
        secrets: Callable[[C], Iterable[Path]] = lambda _: (),
    ) -> None:
        self.kind = kind
        self.struct = struct
        self.place = place
        self.secrets = secrets
        self._group = group
        self._held: dict[Place, Held[C]] = {}
        self._by_id: dict[str, C] = {}
        self._lists: dict[str, list[_Rank]] = {}
        self._places: dict[tuple[str, _Rank], Place] = {}

    def get(self, tenant: str, row_id: str) -> C | None:
        """A tenant's value."""
        held = self._held.get((tenant, row_id))
        return held.value if held else None

    def by_id(self, row_id: str) -> C | None:
        """Whoever's it is; only for kinds whose ids the node makes."""
        return self._by_id.get(row_id)

    def held(self, place: Place) -> Held[C] | None:
        """A value with its version."""
        return self._held.get(place)

    def places(self) -> set[Place]:
        """Where something is."""
        return set(self._held)

    def of(self, group: str) -> Iterator[C]:
        """All of a group, newest first."""
        for rank in reversed(self._lists.get(group, ())):
            yield self._held[self._places[group, rank]].value

    def __iter__(self) -> Iterator[C]:
        return (held.value for held in list(self._held.values()))

    def page(self, group: str, limit: int, before: str | None) -> Page[C]:
        """Newest first; `before` is a former page's `next_id`. Raises Malformed where it is none."""
        ranks = self._lists.get(group, [])
        end = len(ranks) if before is None else bisect_left(ranks, _rank_of(before))
        start = max(0, end - limit)
        chosen = ranks[start:end][::-1]
        rows = tuple(self._held[self._places[group, rank]].value for rank in chosen)
        return Page(rows=rows, next_id=f"{chosen[-1][0]}:{chosen[-1][1]}" if start > 0 else None)

    def put(self, value: C, version: int) -> bool:
        """Keep `value` unless a newer version is here; whether it was kept."""
        place = self.place(value)
        held = self._held.get(place)
        if held is not None and held.version >= version:
            return False
        if held is None:
            group, rank = self._group(value), (value.created_at, place[1])
            insort(self._lists.setdefault(group, []), rank)
            self._places[group, rank] = place
        self._held[place] = Held(value, version)
        self._by_id[place[1]] = value
        return True

    def remove(self, place: Place) -> C | None:
        """Forget a value; it, or None where there was none."""
        held = self._held.pop(place, None)
        if held is None:
            return None
        self._by_id.pop(place[1], None)
        group, rank = self._group(held.value), (held.value.created_at, place[1])
        ranks = self._lists[group]
        del ranks[bisect_left(ranks, rank)], self._places[group, rank]
        return held.value


def _rank_of(cursor: str) -> _Rank:
    at, separator, row_id = cursor.partition(":")
    if not separator or not at.isascii() or not at.isdigit() or len(at) > 20:
        raise Malformed("the cursor is not one of ours")
    return int(at), row_id
