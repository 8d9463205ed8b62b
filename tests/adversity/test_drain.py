"""SIGTERM: what is in flight is answered, nobody is told anything but 503, all that was started is gone, and the exit code
says that all is well."""

import asyncio
import signal
from pathlib import Path

from callers import on_every_worker, stock, storm
from processes import bugs, events, running, server, tree
from recorder import Recorder
from sabotage import holding, lock_license, waiting
from servers import until


async def test_sigterm_answers_what_is_in_flight_and_ends_everything_that_was_started(
    folder: Path, record: Recorder
) -> None:
    async with server(folder) as live:
        family = tree(live.process.pid)
        (key,) = await stock(live, record, 5)
        connection = await live.database()
        async with on_every_worker(live, record, 2) as workers, storm(live, record) as load:
            callers = [caller for callers in workers for caller in callers]
            await until(load.progress(200), 60)
            async with holding(live.demo["postgres_dsn"], lock_license(key)):
                slow = asyncio.gather(*(caller.activate(key, record.unique("m"), "in flight") for caller in callers))
                await until(lambda: waiting(connection, 2))
                live.process.send_signal(signal.SIGTERM)
                await until(lambda: events(live, "supervisor.draining"))
                load.stop()
                assert not slow.done()
            assert all(call.granted for call in await slow)
        await connection.close()
        assert await asyncio.to_thread(live.process.wait, 30) == 0
        assert running(family) == []
        assert {call.status for call in record.calls} <= {0, 200, 503}
        assert events(live, "worker.stopped") == 2
        assert bugs(live) == []
    async with server(folder) as live:
        connection = await live.database()
        assert await record.audit(connection) == []
        await connection.close()
