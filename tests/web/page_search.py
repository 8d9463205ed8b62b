"""A search through the files of a PostgreSQL cluster, page by page and record by record of its WAL: what stands where.

Each hit is told with the relation that it belongs to, in the WAL the one that the record is about.
"""

import re
import struct
import subprocess
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import asyncpg
from planted import Found, Hunt, is_sure

from storage.embedded.home import Home

PAGE = 8192
SEGMENT = re.compile(r"[0-9A-F]{24}")
RELATION_FILE = re.compile(r"(?:global|base/(?P<database>\d+))/(?P<node>\d+)(?:_[a-z]+)?(?:\.\d+)?")
RECORD = re.compile(r", lsn: ([0-9A-F]+)/([0-9A-F]+), ")
BLOCK = re.compile(r"rel \d+/(\d+)/(\d+)")
LONG_HEADER = 0x0002
LONGEST_RECORD = 64 * PAGE  # of those that a search may begin in the middle of

# What has a file. An index has the columns that it is of, those in expressions too; a TOAST table is its table; a
# partition, and an index of one, is the table that it is a part of.
RELATIONS = """
select pg_relation_filenode(c.oid) as node,
       coalesce(root.relname, t.relname) as "table",
       case when i.indexrelid is not null and h.oid is null then array(
           select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any (i.indkey)
           union
           select a.attname::text
           from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
           where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
             and d.refobjsubid > 0
       ) end as columns
from pg_class c
left join pg_index i on i.indexrelid = c.oid
left join pg_class h on h.reltoastrelid = coalesce(i.indrelid, c.oid)
join pg_class t on t.oid = coalesce(h.oid, i.indrelid, c.oid)
left join pg_class root on root.oid = pg_partition_root(t.oid)
where pg_relation_filenode(c.oid) is not null
"""


class Relation(NamedTuple):
    """A table, or an index of it on some columns."""

    table: str
    columns: frozenset[str] | None

    def may_hold(self, places: Collection[str]) -> bool:
        """Whether what may stand in these places may stand here."""
        parts = (each.split(".", 1) for each in places)
        return any(table == self.table and (self.columns is None or column in self.columns) for table, column in parts)


class Hit(NamedTuple):
    """What was found in the file or the WAL of a relation; without one, `where` says all that is known."""

    found: Found
    relation: Relation | None
    where: str


async def relations_of(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, Relation]:
    """The relations of the connection's database, by what the WAL and the files call them: number of database and file.

    Those that all databases share are not among them: nothing is ever to be found there.
    """
    database = await connection.fetchval("select oid from pg_database where datname = current_database()")
    found = {}
    for row in await connection.fetch(RELATIONS):
        relation = Relation(row["table"], None if row["columns"] is None else frozenset(row["columns"]))
        found[f"{database}/{row['node']}"] = relation
    return found


@dataclass
class Cluster:
    """The files of one cluster, running or not. What was searched is searched again only once it has changed."""

    home: Home
    _searched: set[bytes] = field(default_factory=set)
    _wal: dict[int, bytes] = field(default_factory=dict)  # pages by the LSN that they begin at
    _records: dict[int, frozenset[str]] = field(default_factory=dict)  # LSN of a record -> what it is about
    _wal_searched: int = 0

    @property
    def folder(self) -> Path:
        return self.home.engines / "postgres" / "cluster"

    def search(self, hunt: Hunt, relations: Mapping[str, Relation]) -> set[Hit]:
        """All that stands in files and WAL and did not at the last search."""
        self.read_wal()
        hits = {*self._in_files(hunt, relations), *self._in_wal(hunt, relations)}
        found = {each.found for each in hits}
        return {each for each in hits if is_sure(each.found, found)}

    def _in_files(self, hunt: Hunt, relations: Mapping[str, Relation]) -> Iterator[Hit]:
        pages: list[bytes] = []
        names: list[str] = []
        for path in self.folder.rglob("*"):
            name = str(path.relative_to(self.folder))
            if not path.is_file() or (name.startswith("pg_wal/") and SEGMENT.fullmatch(path.name)):
                continue
            data = path.read_bytes()
            if RELATION_FILE.fullmatch(name):
                new = [page for page in map(bytes, _pages(data)) if self._is_new(page)]
                pages += new
                names += [name] * len(new)
            elif self._is_new(data):
                yield from (Hit(found, None, name) for _, found in hunt.hits(data))
        for at, found in hunt.hits(b"".join(pages)):
            name = names[at // PAGE]
            yield Hit(found, _relation(name, relations), "file" if _relation(name, relations) else name)

    def _is_new(self, data: bytes) -> bool:
        digest = blake2b(data, digest_size=16).digest()
        is_new = digest not in self._searched
        self._searched.add(digest)
        return is_new

    def read_wal(self) -> None:
        """Take in what is in pg_wal now. A checkpoint gives segments of before new names: this comes before and after.

        Such a segment keeps its pages until it is written again; each says by itself what it was a part of.
        """
        begins = 0
        for path in sorted(path for path in (self.folder / "pg_wal").iterdir() if SEGMENT.fullmatch(path.name)):
            data = path.read_bytes()
            starts = {page[0]: page[1] for page in map(_wal_page, _pages(data)) if page is not None}
            if not begins and starts and min(starts) == _lsn(path.name, len(data)):
                begins = min(starts)
            self._wal |= starts
        name = f"{1:08X}{begins >> 32:08X}{(begins & 0xFFFFFFFF) // (16 << 20):08X}"
        waldump = self.home.programs.pginstall / "bin" / "pg_waldump"
        # It ends with an error always: there is no end of the WAL but the first record that is none.
        told = subprocess.run(
            [waldump, "-p", self.folder / "pg_wal", name], check=False, capture_output=True, text=True
        ).stdout
        for line in told.splitlines():
            if record := RECORD.search(line):
                lsn = (int(record[1], 16) << 32) + int(record[2], 16)
                self._records[lsn] = frozenset(f"{database}/{node}" for database, node in BLOCK.findall(line))

    def _in_wal(self, hunt: Hunt, relations: Mapping[str, Relation]) -> Iterator[Hit]:
        """Records as they are without the headers of pages that they are cut up by."""
        bodies: list[bytes] = []
        offsets: list[int] = []
        starts: list[int] = []
        size = 0
        for lsn, page in sorted(self._wal.items()):
            if lsn >= self._wal_searched - LONGEST_RECORD:
                header = 40 if page[2] & LONG_HEADER else 24
                bodies.append(page[header:])
                offsets.append(size)
                starts.append(lsn + header)
                size += PAGE - header
        records = sorted(self._records)
        for at, found in hunt.hits(b"".join(bodies)):
            index = bisect_right(offsets, at) - 1
            lsn = starts[index] + at - offsets[index]
            about = self._records[records[bisect_right(records, lsn) - 1]]
            known = {relations.get(each) for each in about}
            if not about or None in known:
                yield Hit(found, None, f"WAL of {sorted(about)}")
            yield from (Hit(found, relation, "WAL") for relation in known if relation is not None)
        self._wal_searched = max(self._wal)


def _pages(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PAGE] for at in range(0, len(data), PAGE))


def _wal_page(page: bytes) -> tuple[int, bytes] | None:
    """A page with the LSN that it begins at, which its header says; None if it was never written."""
    magic, _, _, lsn = struct.unpack_from("<HHIQ", page)
    return (lsn, page) if magic else None


def _lsn(segment: str, size: int) -> int:
    return (int(segment[8:16], 16) << 32) + int(segment[16:], 16) * size


def _relation(name: str, relations: Mapping[str, Relation]) -> Relation | None:
    parts = RELATION_FILE.fullmatch(name)
    return None if parts is None else relations.get(f"{parts['database']}/{parts['node']}")
