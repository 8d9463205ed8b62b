-- The partitions of the log: the last second (exclusive) for which there is a place. Null without any.
select max(substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''?(\d+)''?\)')::bigint) as until
from pg_inherits i
join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'log'::regclass
