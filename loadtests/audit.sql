-- What the audit asks (audit.py). The tables are its own, temporary ones: `states`, `calls`, `terms`, `counters` are the
-- journal; `audited` are the licenses that it names; `sets`, `seats` are what Valkey has of them; `moment` is one row.
-- Every question after `licenses` answers a row of one text for each disagreement, and none if all is well.

-- name: tables
create temp table states (      -- of the log: the outcome that a state stands for, and the deed, which may end in several
    state smallint primary key, outcome smallint not null, deed smallint not null);
create temp table calls (       -- without an outcome: not logged if `answered`, else perhaps, with any outcome of its deed
    key text, code text, deed smallint, outcome smallint, answered boolean, name text, amount bigint, number bigint);
create temp table terms (key text, places integer, overdraft integer);
create temp table counters (key text, name text, start bigint);
create temp table sets (license_id bigint, epoch bigint);
create temp table seats (license_id bigint, code text collate "C", kind smallint, start bigint, expires bigint);
-- Calls have rows with higher ids than `after_id`; only what lives at `at` is looked at, so that nothing ends meanwhile.
-- Of a Valkey that was `emptied` sets may be missing, or old: nobody decides by those.
create temp table moment (after_id bigint, at bigint, emptied boolean);

-- name: licenses
-- `whole`: the log has all of it, from its creation on.
create temp table audited as
select l.id as license_id, l.key, coalesce(t.places, l.max_machines) as places, coalesce(t.overdraft, 0) as overdraft,
       l.lease_epoch, l.allowed_machines = '' as plain,
       exists (select from log g where g.license_id = l.id and g.state = 3010) as whole
from (select key from calls union select key from terms union select key from counters) n
join licenses l on l.key = n.key
left join (select key, max(places) as places, max(overdraft) as overdraft from terms group by key) t on t.key = n.key

-- name: unanswered
-- Whose calls have no answer: (license, machine code, deed), how many.
create temp table unanswered as
select a.license_id, c.code, c.deed, sum(c.number) as number
from calls c join audited a on a.key = c.key
where not c.answered
group by a.license_id, c.code, c.deed

-- name: lost
select format('%s: %s calls on it were answered with yes, and there is no such license', c.key, sum(c.number))
from calls c
where c.outcome is not null and c.key not in (select a.key from audited a)
group by c.key

-- name: logged
with told as (
    select g.license_id, g.machine_code as code, s.deed, s.outcome, count(*) as rows
    from audited a
    join log g on g.license_id = a.license_id
    join states s on s.state = g.state
    where g.id > (select after_id from moment)
    group by g.license_id, g.machine_code, s.deed, s.outcome
), owed as (
    select a.license_id, c.code, c.deed, c.outcome, sum(c.number) as calls
    from calls c join audited a on a.key = c.key
    where c.outcome is not null
    group by a.license_id, c.code, c.deed, c.outcome
), both_sides as (
    select license_id, code, deed, outcome, coalesce(rows, 0) as rows, coalesce(calls, 0) as calls
    from told full join owed using (license_id, code, deed, outcome)
), summed as (
    select license_id, code, deed, sum(greatest(rows - calls, 0)) as surplus,
           string_agg(format('%s times %s, answered %s', rows, outcome, calls), '; ' order by outcome) as how
    from both_sides
    group by license_id, code, deed
)
select format('%s %s: logged %s times with %s, and %s such calls were answered', a.key, b.code, b.rows, b.outcome, b.calls)
from both_sides b join audited a using (license_id)
where b.rows < b.calls
union all
select format('%s %s: logged %s; %s calls have no answer', a.key, s.code, s.how, coalesce(u.number, 0))
from summed s
join audited a using (license_id)
left join unanswered u using (license_id, code, deed)
where s.surplus > coalesce(u.number, 0)

-- name: machines_limit
-- At no row of the log more machines than places; a priority machine (2013) is let in above them. What was there before the
-- log is what is there now, less what the log says. A license without a limit (0) registers nothing.
with steps as (
    select g.license_id, g.id, g.state, case when g.state = 6010 then -1 else 1 end as step
    from audited a
    join log g on g.license_id = a.license_id
    where a.places > 0 and g.state in (2011, 2012, 2013, 3011, 6010)
), present as (
    select m.license_id, count(*) as machines
    from audited a join machines m on m.license_id = a.license_id
    group by m.license_id
), before as (
    select a.license_id, case when a.whole then 0 else coalesce(p.machines, 0) - coalesce(s.steps, 0) end as machines
    from audited a
    left join present p using (license_id)
    left join (select license_id, sum(step) as steps from steps group by license_id) s using (license_id)
), running as (
    select s.license_id, s.id, s.state,
           b.machines + sum(s.step) over (partition by s.license_id order by s.id rows unbounded preceding) as machines
    from steps s join before b using (license_id)
), over as (
    select distinct on (r.license_id) r.license_id, r.id, r.machines
    from running r join audited a using (license_id)
    where r.state in (2011, 2012) and r.machines > a.places
    order by r.license_id, r.id
)
select format('%s: by row %s of the log it has %s machines, and %s places', a.key, o.id, o.machines, a.places)
from over o join audited a using (license_id)
union all
select format('%s: it has %s machines, and %s places', a.key, p.machines, a.places)
from present p join audited a using (license_id)
where a.plain and a.places > 0 and p.machines > a.places

-- name: machines_kept
with last as (
    select distinct on (g.license_id, g.machine_code) g.license_id, g.machine_code as code, g.id, g.state
    from audited a
    join log g on g.license_id = a.license_id
    where a.places > 0 and g.state in (2011, 2012, 2013, 3011, 6010)
    order by g.license_id, g.machine_code, g.id desc
), present as (
    select m.license_id, m.code
    from audited a join machines m on m.license_id = a.license_id
    where a.places > 0
)
select format('%s %s: %s', a.key, code, case
    when l.id is null then 'it is a machine of the license, and the log never registered it'
    when p.license_id is null then format('row %s of the log registered it, and it is no machine of the license', l.id)
    else format('row %s of the log forgot it, and it is a machine of the license', l.id) end)
from last l
full join present p using (license_id, code)
join audited a using (license_id)
where (l.id is null and a.whole) or (p.license_id is null and l.state <> 6010) or (p.license_id is not null and l.state = 6010)

-- name: seats_limit
-- At no second of the log more regular seats than places, nor more of all than with the overdraft. A seat is taken from its
-- row until its end, or the machine's next row; what ends within a second ends before what begins in it.
with told as (
    select g.license_id, g.state, g.time, g.floating_expires,
           lead(g.time) over (partition by g.license_id, g.machine_code order by g.time, g.id) as next
    from audited a
    join log g on g.license_id = a.license_id
    where a.places > 0 and g.state in (2014, 2015, 6011)
), spans as (
    select license_id, state = 2015 as above, time as first, least(floating_expires, next) as ends
    from told
    where state <> 6011
), steps as (
    select license_id, above, first as at, 1 as step from spans where ends > first
    union all
    select license_id, above, ends, -1 from spans where ends > first
), running as (
    select license_id, at,
           coalesce(sum(step) filter (where not above) over so_far, 0) as regular, sum(step) over so_far as taken
    from steps
    window so_far as (partition by license_id order by at, step rows unbounded preceding)
)
select distinct on (r.license_id)
       format('%s: at %s, by the log, %s regular seats are taken and %s in all, of %s and %s in overdraft',
              a.key, r.at, r.regular, r.taken, a.places, a.overdraft)
from running r join audited a using (license_id)
where r.regular > a.places or r.taken > a.places + a.overdraft
order by r.license_id, r.at

-- name: leases_logged
-- The leases that live, by the table and by each machine's last row in the log. If calls of a machine have no answer, two may
-- have been under way at once: then any row of its last second may be the last.
with told as (
    select g.license_id, g.machine_code as code, g.floating_expires as expires,
           case when g.floating_expires <= (select at from moment) then null
                when g.state = 2014 then 1 when g.state = 2015 then 2 end as kind,
           rank() over (partition by g.license_id, g.machine_code order by g.time desc) as second,
           row_number() over (partition by g.license_id, g.machine_code order by g.time desc, g.id desc) as place
    from audited a
    join log g on g.license_id = a.license_id
    where g.state in (2014, 2015, 6011)
), implied as (
    select license_id, code, kind, case when kind is not null then expires end as expires, place
    from told
    where second = 1
), living as (
    select s.license_id, s.code, s.kind, s.expires
    from audited a join leases s on s.license_id = a.license_id
    where not s.released and s.expires > (select at from moment)
), wrong as (
    select license_id, code, l.kind, l.expires, i.kind as logged_kind, i.expires as logged_expires
    from living l
    full join (select license_id, code, kind, expires from implied where place = 1 and kind is not null) i using (license_id, code)
    where (l.kind, l.expires) is distinct from (i.kind, i.expires)
)
select format('%s %s: the log says %s, and the table of leases %s', a.key, w.code,
              case when w.logged_kind is null then 'no lease' else format('kind %s until %s', w.logged_kind, w.logged_expires) end,
              case when w.kind is null then 'no lease' else format('kind %s until %s', w.kind, w.expires) end)
from wrong w
join audited a using (license_id)
where not exists (
    select from unanswered u join implied i using (license_id, code)
    where u.license_id = w.license_id and u.code = w.code and u.deed in (20, 60)
      and (i.kind, i.expires) is not distinct from (w.kind, w.expires))

-- name: leases_copied
-- The leases that live, by the table and by Valkey, where Valkey decides (the epoch is even). A call without an answer may
-- have left a seat in Valkey that nobody has; its machine is left out.
with living as (
    select s.license_id, s.code, s.kind, s.start, s.expires
    from audited a join leases s on s.license_id = a.license_id
    where a.lease_epoch > 0 and a.lease_epoch % 2 = 0 and not s.released and s.expires > (select at from moment)
), held as (
    select license_id, code, kind, start, expires from seats where expires > (select at from moment)
), gone as (
    select a.license_id, s.epoch
    from audited a left join sets s using (license_id)
    where a.lease_epoch > 0 and a.lease_epoch % 2 = 0 and s.epoch is distinct from a.lease_epoch
)
select format('%s: %s leases live, and Valkey has %s', a.key, count(*),
              case when g.epoch is null then 'no set' else format('a set of epoch %s instead of %s', g.epoch, a.lease_epoch) end)
from gone g join audited a using (license_id) join living using (license_id)
where not (select emptied from moment)
group by a.key, a.lease_epoch, g.epoch
union all
select format('%s %s: the table of leases says %s, and Valkey %s', a.key, code,
              case when l.kind is null then 'no lease' else format('kind %s from %s until %s', l.kind, l.start, l.expires) end,
              case when h.kind is null then 'no lease' else format('kind %s from %s until %s', h.kind, h.start, h.expires) end)
from living l
full join held h using (license_id, code)
join audited a using (license_id)
where (l.kind, l.start, l.expires) is distinct from (h.kind, h.start, h.expires)
  and license_id not in (select g.license_id from gone g)
  and not exists (
      select from unanswered u
      where u.license_id = a.license_id and u.code = coalesce(l.code, h.code) and u.deed in (20, 60))

-- name: counters_add_up
-- A counter has been added to by all answered calls, and perhaps by those without an answer; and by what is logged, exactly.
with moved as (
    select c.key, c.name,
           sum(abs(c.amount) * c.number) filter (where c.outcome = 8011) as surely,
           sum(abs(c.amount) * c.number) filter (where not c.answered) as perhaps
    from calls c
    where c.deed = 81
    group by c.key, c.name
), there as (
    select distinct on (a.license_id, d.name) a.license_id, d.name, d.id, d.int_value
    from audited a join data_objects d on d.referencer_type = 2 and d.referencer_id = a.license_id
    order by a.license_id, d.name, d.id  -- of several of one name the first is meant
), logged as (
    select t.id, sum(abs(g.do_int_value::bigint)) as steps
    from there t join log g on g.license_id = t.license_id and g.do_id = t.id
    where g.state = 8011 and g.id > (select after_id from moment)
    group by t.id
), sums as (
    select a.key, c.name, t.int_value, c.start + coalesce(l.steps, 0) as by_the_log,
           c.start + coalesce(m.surely, 0) as least, c.start + coalesce(m.surely, 0) + coalesce(m.perhaps, 0) as most
    from counters c
    join audited a using (key)
    left join there t on t.license_id = a.license_id and t.name = c.name
    left join logged l on l.id = t.id
    left join moved m on m.key = c.key and m.name = c.name
)
select format('%s %s: it stands at %s; by the answers it is %s to %s, by the log %s', key, name,
              coalesce(int_value::text, 'nothing'), least, most, by_the_log)
from sums
where int_value is null or int_value not between least and most or int_value <> by_the_log

-- name: under_way
select count(*) from pg_stat_activity
where application_name = 'keyturn' and state <> 'idle' and datname = current_database()

-- name: by_valkey
select license_id from audited where lease_epoch > 0 and lease_epoch % 2 = 0
