-- The daily job that masks, anonymises and removes what has become too old. Every statement is a step of a walk along an
-- index, bounded by the number of rows that it looks at.

-- name: lock
-- One host at a time. $1 the lock
select pg_try_advisory_lock($1)

-- name: parts
-- When each part was last done.
select r.part, r.done from retention r

-- name: part_done
-- $1 part, $2 when
update retention set done = $2 where part = $1

-- name: machines_look
-- The next machines, by license and code: of those that are old their addresses; beside each (or alone) the last one that
-- was looked at. No row: there is none any more.
-- $1 license and $2 code to begin after, $3 how many to look at, $4 the time before which they are old
with looked as materialized (
    select m.license_id, m.code, m.time, m.ip, m.proxy_ip
    from machines m
    where (m.license_id, m.code) > ($1, $2)
    order by m.license_id, m.code
    limit $3
)
select last.license_id as last_license, last.code as last_code, o.license_id, o.code, o.ip, o.proxy_ip
from (select k.license_id, k.code from looked k order by k.license_id desc, k.code desc limit 1) last
left join looked o on o.time < $4
order by o.license_id, o.code

-- name: licenses_lock
-- In the ledger's order. $1 licenses
select l.id from licenses l where l.id = any ($1) order by l.id for no key update

-- name: machines_mask
-- Mask the addresses of machines that still are as they were read, and stamp their licenses: how many machines. It writes
-- no log and no lease, so it takes no writers' lock; but it comes after `licenses_lock`, to see what that waited for.
-- $1 licenses, $2 codes, $3 addresses as read, $4 those of their proxies, $5 and $6 both masked, $7 the time before which
-- they are old; $8 the licenses once each, $9 new stamps
with masked as (
    update machines m
    set ip = w.ip, proxy_ip = w.proxy_ip
    from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) as w (
        license_id, code, was_ip, was_proxy_ip, ip, proxy_ip)
    where m.license_id = w.license_id and m.code = w.code and m.time < $7 and m.ip = w.was_ip
      and m.proxy_ip = w.was_proxy_ip
    returning m.license_id
), stamped as (
    update licenses l
    set stamp = s.stamp
    from unnest($8::bigint[], $9::bigint[]) as s (id, stamp)
    where l.id = s.id and exists (select from masked k where k.license_id = l.id)
)
select count(*) from masked

-- name: log_months
-- The partitions of the log that have rows from before a time, oldest first, and up to which id each is anonymised.
-- $1 the time
select b.begins, b.ends, coalesce(a.log_id, 0) as log_id
from (
    select substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \(''?(-?\d+)''?\)')::bigint as begins,
           substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''?(-?\d+)''?\)')::bigint as ends
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'log'::regclass and not i.inhdetachpending
) b
left join log_anonymised a on a.month = b.begins
where b.begins < $1
order by b.begins

-- name: log_look
-- The next rows of a month, by id: of those that are old and still name a machine, what is needed to anonymise them;
-- beside each (or alone) the last id that was looked at, and the first among them that is not old. For rows that are not
-- old the index is enough. Without any row, the last id is null.
-- $1 begin and $2 end of the month, $3 id to begin after, $4 how many to look at, $5 the time before which they are old
with looked as materialized (
    select g.id, g.time
    from log g
    where g.time >= $1 and g.time < $2 and g.id > $3
    order by g.id
    limit $4
), named as materialized (
    select g.id, g.time, g.machine_code
    from looked k
    join log g on g.id = k.id and g.time = k.time
    where k.time < $5 and g.time >= $1 and g.time < $2
      and not (g.ip = '0.0.0.0' and g.friendly_name = '' and (g.machine_code = '' or g.machine_code like 'anon:%'))
)
select s.last, s.first_young, n.id, n.time, n.machine_code
from (select max(k.id) as last, min(k.id) filter (where k.time >= $5) as first_young from looked k) s
left join named n on true

-- name: log_anonymise
-- Anonymise rows of a month, and note up to which id that is done: how many. No id is drawn, so no reader need wait for
-- it, and it takes no writers' lock.
-- $1 begin and $2 end of the month, $3 ids, $4 times, $5 what takes the place of the machine codes, $6 the id to note
with done as (
    update log g
    set ip = '0.0.0.0', machine_code = w.machine_code, friendly_name = ''
    from unnest($3::bigint[], $4::bigint[], $5::text[]) as w (id, time, machine_code)
    where g.id = w.id and g.time = w.time and g.time >= $1 and g.time < $2
    returning g.id
), noted as (
    insert into log_anonymised (month, log_id) values ($1, $6)
    on conflict (month) do update set log_id = excluded.log_id
)
select count(*) from done

-- name: events_delete
-- Remove the next events, by age: how many, and the last one.
-- $1 time and $2 id of the event to begin after, $3 the time before which they are old, $4 how many
with old as materialized (
    select e.registered, e.id
    from events e
    where (e.registered, e.id) > ($1, $2) and e.registered < $3
    order by e.registered, e.id
    limit $4
), gone as (
    delete from events e using old o where e.id = o.id
)
select count(*) as gone, max(o.registered) as registered,
       (select l.id from old l order by l.registered desc, l.id desc limit 1) as id
from old o

-- name: patience
-- A partition leaves once the readers of the log have ended that began before. One that does not end must not keep the
-- rest of the job from being done the next day.
set statement_timeout = '30s'

-- name: partitions_pending
-- How to go on with a partition whose detaching was interrupted; there can be but one.
select format('alter table log detach partition %s finalize', i.inhrelid::regclass) as finalize
from pg_inherits i
where i.inhparent = 'log'::regclass and i.inhdetachpending

-- name: leaving_forget
-- What is a partition still may stay, or is noted again: for a person may have detached it to keep it.
delete from log_leaving l
using pg_inherits i, pg_class c
where i.inhparent = 'log'::regclass and c.oid = i.inhrelid and c.relname = l.name

-- name: partitions_old
-- The partitions with nothing in them from after a time, oldest first, and how to detach them. $1 the time
select b.name, format('alter table log detach partition %s concurrently', b.oid::regclass) as detach
from (
    select c.oid, c.relname as name,
           substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''?(-?\d+)''?\)')::bigint as ends
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'log'::regclass
) b
where b.ends <= $1
order by b.ends

-- name: leaving_note
-- $1 name
insert into log_leaving (name) values ($1)

-- name: leaving
-- What is detached, and how to drop it; null: it is gone already.
select l.name, 'drop table ' || c.oid::regclass as drop
from log_leaving l
left join pg_class c on c.relname = l.name and c.relkind = 'r'
    and c.relnamespace = (select p.relnamespace from pg_class p where p.oid = 'log'::regclass)

-- name: leaving_gone
-- $1 name
delete from log_leaving where name = $1
