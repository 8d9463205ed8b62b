-- One license with all that belongs to it, in one statement, and which of the tokens named (ordinals from 1) are no
-- longer good. Always one row: without a product, without a license, or whole.
-- $1 account, $2 product, $3 key, $4 facts (tokens)
select
    t.stale_tokens,
    p.id as product_id, p.account_id as product_account_id, p.name as product_name, p.description, p.created as product_created, p.feature_names,
    p.feature_types, p.all_time_limited, p.block_expired, p.stamp as product_stamp,
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
    array(
        select row (d.machine_code, d.id, d.name, d.string_value, d.int_value)
        from data_objects d
        where d.referencer_type = 3 and d.referencer_id = l.id
        order by d.id
    ) as machine_objects,
    array(
        select row (s.code, s.kind, s.start, s.time, s.expires, s.friendly_name, s.ip, s.epoch, s.seq, s.released)
        from leases s
        where s.license_id = l.id and l.lease_epoch % 2 = 1 and l.lease_ready
        order by s.code
    ) as leases,
    array(
        select n.code_hash from counted_codes n where n.license_id = l.id and l.trial_activation
    ) as counted_codes,
    c.id as customer_id, c.name as customer_name, c.email, c.company_name, c.created as customer_created,
    c.stamp as customer_stamp
from (
    select array(
        select f.n::integer
        from unnest($4::fact[]) with ordinality as f (kind, id, stamp, n)
        where not exists (
            select from tokens k where k.id = f.id and k.stamp = f.stamp and k.revoked is null
        )
    ) as stale_tokens
) t
left join products p on p.id = $2 and p.account_id = $1
left join licenses l on l.product_id = p.id and l.key = $3
left join customers c on c.id = l.customer_id
