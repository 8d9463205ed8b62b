-- One step of the walk along the key that removes rows which ended or were released long ago: how many it removed, and
-- the last one it looked at (null: there was none). It waits for nobody, so whoever else locks these rows in whatever
-- order cannot be in a deadlock with it; what is locked is being written, and has its turn with the next walk.
-- $1 license and $2 code of the row to begin after, $3 how many rows to look at, $4 the time before which they ended
with looked as materialized (
    select s.license_id, s.code
    from leases s
    where (s.license_id, s.code) > ($1, $2)
    order by s.license_id, s.code
    limit $3
), ended as materialized (
    select s.license_id, s.code
    from looked k
    join leases s on s.license_id = k.license_id and s.code = k.code
    where s.expires < $4
    for update of s skip locked
), gone as (
    delete from leases s
    using ended e
    where s.license_id = e.license_id and s.code = e.code and s.expires < $4
    returning s.license_id
)
select (select count(*) from gone) as gone, k.license_id, k.code
from (select) as always
left join (
    select l.license_id, l.code from looked l order by l.license_id desc, l.code desc limit 1
) k on true
