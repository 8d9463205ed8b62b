-- One page of the events, up from an id, or, with $9, down from that one. After the key the order is that of
-- records.Event. $1 account, $2 horizon; then "any" by 0, '' or null: $3 product, $4 license, $5 part of the metadata,
-- $6 from time, $7 to time, $8 after id, $9 before id; $10 limit. Ids are cast: beside a plain 0 they would be int32.
select e.id, coalesce(l.key, '') as key, e.account_id, e.product_id, e.license_id, e.machine_code, e.feature_name,
       e.event_name, e.value, e.currency, e.time, e.metadata
from (
    (
        select u.id, u.account_id, u.product_id, u.license_id, u.machine_code, u.feature_name, u.event_name, u.value,
               u.currency, u.time, u.metadata
        from events u
        where $9::bigint = 0 and u.id > $8 and u.id <= $2
          and u.account_id = $1 and ($3::bigint = 0 or u.product_id = $3) and ($4::bigint = 0 or u.license_id = $4)
          and position($5 in u.metadata) > 0
          and ($6::bigint is null or u.time >= $6) and ($7::bigint is null or u.time <= $7)
        order by u.id
        limit $10
    )
    union all
    (
        select d.id, d.account_id, d.product_id, d.license_id, d.machine_code, d.feature_name, d.event_name, d.value,
               d.currency, d.time, d.metadata
        from events d
        where $9 > 0 and d.id < $9 and d.id > $8 and d.id <= $2
          and d.account_id = $1 and ($3 = 0 or d.product_id = $3) and ($4 = 0 or d.license_id = $4)
          and position($5 in d.metadata) > 0
          and ($6 is null or d.time >= $6) and ($7 is null or d.time <= $7)
        order by d.id desc
        limit $10
    )
) e
left join licenses l on l.id = e.license_id
order by case when $9 = 0 then e.id else -e.id end
