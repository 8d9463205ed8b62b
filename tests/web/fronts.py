"""Another server in front of engines that run already, as on a second host."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from servers import Live, open_folder, start, stop


@contextmanager
def in_front(live: Live, **environment: str) -> Iterator[Live]:
    """Another server on the engines of a running one, with its signing key and with settings of its own."""
    with open_folder() as folder:
        shutil.copytree(live.data / "keys", folder / "data" / "keys")
        engines = {"DATABASE_URL": live.demo["postgres_dsn"], "REDIS_URL": live.demo["redis_url"]}
        server = start(folder / "data", **engines, **environment)
        yield server
        assert stop(server) == 0
