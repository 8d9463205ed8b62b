-- Customers: found, listed with or without their licenses, made, changed and removed. Each says which facts no longer hold.

-- name: find
-- One customer as licenses show it; always one row. $1 account, $2 customer, $3 facts
select s.stale_facts, c.id as customer_id, c.name as customer_name, c.email, c.company_name,
       c.created as customer_created, c.stamp as customer_stamp
from ledger_stale('{}', '{}', $3::fact[], '{}', '{}') s
left join customers c on c.id = $2 and c.account_id = $1

-- name: search
-- Customers, newest first; at least one row. $1 account, then "any" by 0, '' or null: $2 customer, $3 text to search for,
-- $4 hash of it, $5 its number; $6 how many (null: all), $7 facts. The collation knows the letters of all alphabets,
-- whatever the database was made with.
select s.stale_facts, c.id as customer_id, c.name as customer_name, c.email, c.company_name,
       c.created as customer_created, c.stamp as customer_stamp, c.notes, c.enable_customer_association,
       c.allow_activation_management, c.allow_multiple_user_association, c.max_no_of_devices
from ledger_stale('{}', '{}', $7::fact[], '{}', '{}') s
left join lateral (
    select k.id, k.name, k.email, k.company_name, k.created, k.stamp, k.notes, k.enable_customer_association,
           k.allow_activation_management, k.allow_multiple_user_association, k.max_no_of_devices
    from customers k
    where k.account_id = $1 and ($2 = 0 or k.id = $2)
      and (
          $3 = '' or k.secret_hash = $4 or k.id = $5
          or position(lower($3 collate "pg_c_utf8") in lower(k.name collate "pg_c_utf8")) > 0
          or position(lower($3 collate "pg_c_utf8") in lower(k.email collate "pg_c_utf8")) > 0
          or position(lower($3 collate "pg_c_utf8") in lower(k.company_name collate "pg_c_utf8")) > 0
      )
    order by k.created desc, k.id desc
    limit $6
) c on true
order by c.created desc, c.id desc

-- name: licenses
-- The licenses of one customer with all that belongs to them, in order of id; at least one row. The columns are those of
-- license_load.sql, but without rows of leases: a list does not show them. $1 account, $2 customer, or (0) $3 hash of the
-- secret; held to $4 product and $5 license (0: any); $6 facts
select
    s.stale_facts as stale_tokens, c.id as found_customer,
    p.id as product_id, p.account_id as product_account_id, p.name as product_name, p.description,
    p.created as product_created, p.feature_names, p.feature_types, p.all_time_limited, p.block_expired,
    p.stamp as product_stamp,
    array(
        select row (d.id, d.name, d.string_value, d.int_value)
        from data_objects d
        where d.referencer_type = 1 and d.referencer_id = p.id
        order by d.id
    ) as product_data_objects,
    l.id, l.account_id, l.number, l.key, l.created, l.expires, l.period, l.features, l.notes, l.block,
    l.trial_activation, l.ever_activated, l.max_machines, l.allowed_machines, l.stamp,
    l.lease_epoch, l.lease_epoch_at, l.lease_ready,
    array(
        select row (m.code, m.friendly_name, m.ip, m.proxy_ip, m.time)
        from machines m
        where m.license_id = l.id
        order by m.time, m.code collate "C"
    ) as machines,
    array(
        select row (d.id, d.name, d.string_value, d.int_value)
        from data_objects d
        where d.referencer_type = 2 and d.referencer_id = l.id
        order by d.id
    ) as data_objects,
    '{}'::record[] as machine_objects, '{}'::record[] as leases, '{}'::bytea[] as counted_codes,
    c.id as customer_id, c.name as customer_name, c.email, c.company_name, c.created as customer_created,
    c.stamp as customer_stamp
from ledger_stale('{}', '{}', $6::fact[], '{}', '{}') s
left join customers c on c.account_id = $1 and (c.id = $2 or $2 = 0 and c.secret_hash = $3)
left join licenses l on l.customer_id = c.id and ($4 = 0 or l.product_id = $4) and ($5 = 0 or l.id = $5)
left join products p on p.id = l.product_id
order by l.id

-- name: add
-- $1 account, $2 facts, $3 the customer, $4 now, $5 token
select outcome, customer_id from customer_add($1, $2, $3, $4, $5)

-- name: edit
-- $1 account, $2 facts, $3 customer, $4 what to set, $5 stamp, $6 now, $7 token
select outcome, is_associable from customer_edit($1, $2, $3, $4, $5, $6, $7)

-- name: leaves
-- $1 account, $2 facts, $3 customer, $4 stamps for as many licenses, $5 now, $6 token
select outcome, left_by from customer_leaves($1, $2, $3, $4, $5, $6)

-- name: remove
-- $1 account, $2 facts, $3 customer, $4 now, $5 token
select outcome from customer_remove($1, $2, $3, $4, $5)
