-- One page of the Web API log. $1 account, $2 horizon; then "any" by 0, '' or null: $3 product, $4 license, $5 machine
-- code, $6 part of the friendly name, $7 states, $8 from time, $9 to time, $10 after id, $11 before id; $12 descending,
-- $13 limit. The collation knows the letters of all alphabets, whatever the database was made with.
(
    select g.id, g.account_id, g.product_id, g.license_id, g.key, g.ip, g.time, g.state, g.machine_code,
           g.friendly_name, g.floating_expires, g.do_int_value, g.do_id
    from log g
    where not $12 and g.id > $10 and g.id <= $2 and ($11::bigint = 0 or g.id < $11)
      and g.account_id = $1 and ($3::bigint = 0 or g.product_id = $3) and ($4::bigint = 0 or g.license_id = $4)
      and ($5::text is null or g.machine_code = $5)
      and ($6 = '' or position(lower($6 collate "pg_c_utf8") in lower(g.friendly_name collate "pg_c_utf8")) > 0)
      and ($7::smallint[] is null or g.state = any ($7))
      and ($8::bigint is null or g.time >= $8) and ($9::bigint is null or g.time <= $9)
    order by g.id
    limit $13
)
union all
(
    select g.id, g.account_id, g.product_id, g.license_id, g.key, g.ip, g.time, g.state, g.machine_code,
           g.friendly_name, g.floating_expires, g.do_int_value, g.do_id
    from log g
    where $12 and g.id > $10 and g.id <= $2 and ($11::bigint = 0 or g.id < $11)
      and g.account_id = $1 and ($3::bigint = 0 or g.product_id = $3) and ($4::bigint = 0 or g.license_id = $4)
      and ($5::text is null or g.machine_code = $5)
      and ($6 = '' or position(lower($6 collate "pg_c_utf8") in lower(g.friendly_name collate "pg_c_utf8")) > 0)
      and ($7::smallint[] is null or g.state = any ($7))
      and ($8::bigint is null or g.time >= $8) and ($9::bigint is null or g.time <= $9)
    order by g.id desc
    limit $13
)
