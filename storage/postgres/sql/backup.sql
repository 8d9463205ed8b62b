-- What a backup is made of, and how an empty database is made ready to take it in. All of a backup is read in one snapshot.

-- name: hold_schema
-- No migration may change a table meanwhile: it would wait for the backup, and every writer for it. Until the connection
-- ends. $1 the lock of migrations
select pg_advisory_lock_shared($1)

-- name: about
-- The number of the schema and those of migrations that are finished, the installation, the server and its time. Schemas up
-- to 8 do not say what is finished: nothing is.
select (select max(h.number) from schema_history h) as schema, i.id::text as installation,
       array(
           select h.number from schema_history h where to_jsonb(h) ->> 'finished' is not null order by h.number
       ) as finished,
       current_setting('server_version') as server, floor(extract(epoch from clock_timestamp()))::bigint as taken
from installation i

-- name: tables
-- Those of the tables that are there, in the order given, then the partitions of the log, oldest first, each with the times
-- between which its rows are: their columns, and about how large they are. $1 names
select c.relname as name, pg_relation_size(c.oid) as size, b.begins, b.ends,
       array(
           select a.attname::text from pg_attribute a
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           order by a.attnum
       ) as columns
from (
    select w.n, to_regclass(w.name) as oid, null::bigint as begins, null::bigint as ends
    from unnest($1::text[]) with ordinality as w (name, n)
    union all
    select null, p.oid,
           substring(pg_get_expr(p.relpartbound, p.oid) from 'FROM \(''?(-?\d+)''?\)')::bigint,
           substring(pg_get_expr(p.relpartbound, p.oid) from 'TO \(''?(-?\d+)''?\)')::bigint
    from pg_inherits i
    join pg_class p on p.oid = i.inhrelid
    where i.inhparent = 'log'::regclass and not i.inhdetachpending
) b
join pg_class c on c.oid = b.oid
order by b.n nulls last, b.begins

-- name: sequences
-- Where the sequences of the tables stand; they are in no snapshot, so this is asked after it was taken. $1 names of tables
select q.relname as name, coalesce(pg_sequence_last_value(q.oid), s.seqstart - 1) as last
from pg_class q
join pg_sequence s on s.seqrelid = q.oid
where q.oid = 'log_id'::regclass
   or exists (
       select from pg_depend d
       where d.classid = 'pg_class'::regclass and d.objid = q.oid and d.deptype in ('a', 'i')
         and d.refclassid = 'pg_class'::regclass
         and d.refobjid in (select to_regclass(w.name) from unnest($1::text[]) as w (name))
   )
order by q.relname

-- name: last_logged
select g.id, g.time from log g order by g.id desc limit 1

-- name: is_empty
-- Whether there is no table where ours would be made, but for those of extensions.
select not exists (
    select from pg_class c
    where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
      and c.relkind in ('r', 'p')
      and not exists (
          select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
      )
) as is_empty

-- name: month
-- $1 name of the partition, $2 from time, $3 before time
select log_partition($1, $2, $3)

-- name: sequence_at
-- $1 name, $2 the number after which it goes on; one that was never drawn from has 0 in a backup
select setval(quote_ident($1)::regclass, greatest($2::bigint, 1))
