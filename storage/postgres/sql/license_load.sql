-- Licenses, each with all that belongs to it, in one statement, and which of the tokens named (ordinals from 1) are no
-- longer good. One row for each license asked for, `n` its ordinal (from 1): without a product, without a license, or whole.
-- A product whose stamp the caller named comes as that stamp alone.
-- $1 accounts, $2 products, $3 keys, $4 stamps of the products as the caller knows them (0: it does not), $5 facts (tokens)
select
    a.n,
    array(  -- rests on nothing of the license: done once for all
        select f.n::integer
        from unnest($5::fact[]) with ordinality as f (kind, id, stamp, n)
        where not exists (
            select from tokens k where k.id = f.id and k.stamp = f.stamp and k.revoked is null
        )
    ) as stale_tokens,
    p.id as product_id, p.stamp as product_stamp,
    w.product_account_id, w.product_name, w.description, w.product_created, w.feature_names, w.feature_types,
    w.all_time_limited, w.block_expired,
    case when p.stamp <> a.product_stamp then array(
        select row (d.id, d.name, d.string_value, d.int_value)
        from data_objects d
        where d.referencer_type = 1 and d.referencer_id = p.id
        order by d.id
    ) end as product_data_objects,
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
from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])
    with ordinality as a (account_id, product_id, key, product_stamp, n)
left join products p on p.id = a.product_id and p.account_id = a.account_id
left join lateral (
    select
        p.account_id as product_account_id, p.name as product_name, p.description, p.created as product_created,
        p.feature_names, p.feature_types, p.all_time_limited, p.block_expired
    where p.stamp <> a.product_stamp
) w on true
-- A query of its own (`offset 0`): joined outright, on a table that is still small, the key would be compared license by
-- license of the product.
left join lateral (select * from licenses k where k.product_id = p.id and k.key = a.key offset 0) l on true
left join customers c on c.id = l.customer_id
