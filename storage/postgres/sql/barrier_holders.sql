-- The transactions that write the log right now, by virtual transaction: a held connection keeps its process id.
-- $1 the lock of log_writer_begins(); with $2, only those of them that are still under way.
select coalesce(array_agg(l.virtualtransaction), '{}') as holders
from pg_locks l
where l.locktype = 'advisory'
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and l.classid = 0 and l.objid = $1 and l.objsubid = 1 and l.mode = 'ShareLock' and l.granted
  and ($2::text[] is null or l.virtualtransaction = any ($2))
