-- What is done by hand: accounts, products with their data objects, tokens. A new stamp always comes with the change
-- that it names; every change has its row in the object log.

-- name: account_find
select a.id, a.name, a.public_key from accounts a where a.name = $1

-- name: account_add
-- $1 name, $2 public key, $3 now
insert into accounts (name, public_key, created) values ($1, $2, $3) returning id

-- name: account_counts
-- Its products, and its tokens that are neither revoked (themselves or their parents) nor expired. $1 account, $2 now
select
    (select count(*) from products p where p.account_id = $1) as products,
    (
        select count(*)
        from tokens t
        left join tokens p on p.id = t.parent_id
        where t.account_id = $1 and t.revoked is null and p.revoked is null and (t.expires is null or t.expires > $2)
    ) as tokens

-- name: product_ids
select p.id from products p where p.account_id = $1 order by p.id

-- name: product_lock
-- Lock one product until the transaction ends, before it is read. $1 account, $2 product
select p.id from products p where p.account_id = $1 and p.id = $2 for no key update

-- name: product_add
-- With the counter of its licenses. $1 account, $2 name, $3 description, $4 now, $5 names and $6 types of the features,
-- $7 all time-limited, $8 block expired, $9 stamp
with made as (
    insert into products (account_id, name, description, created, feature_names, feature_types, all_time_limited,
                          block_expired, stamp)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    returning id
)
insert into product_counters (product_id) select made.id from made returning product_id

-- name: product_edit
-- $1 product, $2 name, $3 description, $4 names and $5 types of the features, $6 all time-limited, $7 block expired,
-- $8 stamp
update products
set name = $2, description = $3, feature_names = $4, feature_types = $5, all_time_limited = $6, block_expired = $7,
    stamp = $8
where id = $1

-- name: product_stamp
-- What belongs to the product has changed. $1 product, $2 stamp
update products set stamp = $2 where id = $1

-- name: product_data_set
-- Of several with the name the oldest counts. $1 product, $2 name, $3 string value, $4 int value
update data_objects
set string_value = $3, int_value = $4
where id = (
    select min(d.id) from data_objects d where d.referencer_type = 1 and d.referencer_id = $1 and d.name = $2
)
returning id

-- name: product_data_add
-- $1 product, $2 name, $3 string value, $4 int value, $5 account
insert into data_objects (account_id, referencer_type, referencer_id, name, string_value, int_value)
values ($5, 1, $1, $2, $3, $4)

-- name: product_data_drop
-- All of the name. $1 product, $2 name
delete from data_objects where referencer_type = 1 and referencer_id = $1 and name = $2 returning id

-- name: products_with
-- The products that have a key: an index lookup in each. $1 account, $2 key
select p.id
from products p
join licenses l on l.product_id = p.id and l.key = $2
where p.account_id = $1
order by p.id

-- name: tokens
-- A token whose parent is revoked is as good as revoked itself. $1 account
select t.id, t.name, t.permissions, t.product_lock, t.key_lock, t.feature_lock, t.expires, t.created,
       coalesce(t.revoked, p.revoked) as revoked
from tokens t
left join tokens p on p.id = t.parent_id
where t.account_id = $1
order by t.id

-- name: token_locks
-- Whether what a token is to be locked to is there; 0, and a negative key, lock to nothing in particular.
-- $1 account, $2 product, $3 license
select
    $2 = 0 or exists (select from products p where p.id = $2 and p.account_id = $1) as has_product,
    $3 <= 0 or exists (
        select from licenses l where l.id = $3 and l.account_id = $1 and ($2 = 0 or l.product_id = $2)
    ) as has_license

-- name: token_add
-- $1 account, $2 name, $3 hash of the secret, $4 permissions, $5 product lock, $6 key lock, $7 feature lock, $8 expires,
-- $9 now, $10 stamp
insert into tokens (account_id, name, secret_hash, permissions, product_lock, key_lock, feature_lock, expires, created,
                    stamp)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
returning id

-- name: token_allow
-- $1 account, $2 token, $3 permissions, $4 stamp
update tokens set permissions = $3, stamp = $4
where account_id = $1 and id = $2 and revoked is null and permissions <> $3
returning id

-- name: token_revoke
-- $1 account, $2 token, $3 now, $4 stamp
update tokens set revoked = $3, stamp = $4 where account_id = $1 and id = $2 and revoked is null returning id

-- name: usage
-- Recorded usage, added up by month (UTC) and license, the newest month first. $1 account, $2 product (0: all), $3 from and
-- $4 before, in Unix seconds
select to_char(to_timestamp(u.time) at time zone 'UTC', 'YYYY-MM') as month, p.id as product_id, p.name as product_name,
       l.key, sum(u.amount) as amount, count(*) as calls
from usage u
join licenses l on l.id = u.license_id
join products p on p.id = u.product_id
where u.account_id = $1 and ($2::bigint = 0 or u.product_id = $2) and u.time >= $3 and u.time < $4
group by month, p.id, l.id
order by month desc, p.id, l.key
