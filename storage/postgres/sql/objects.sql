-- Data objects of products (type 1, the product's id) and of accounts (type 0, the account's id), and what any object
-- hangs at. Those of licenses and of machine codes are read with their license and written by the ledger.

-- name: place
-- What an object hangs at, with product and key of its license if it is a license's. Always one row. $1 account,
-- $2 object, $3 facts (tokens): which of them (ordinals from 1) no longer hold
select f.stale_facts, d.referencer_type, d.referencer_id, l.product_id, l.key
from ledger_stale('{}', '{}', $3::fact[], '{}', '{}') f
left join data_objects d on d.id = $2 and d.account_id = $1
left join licenses l on l.id = d.referencer_id and d.referencer_type in (2, 3)

-- name: license_place
-- The same of a license itself. $1 account, $2 license, $3 facts
select f.stale_facts, case when l.id is not null then 2 end as referencer_type, l.id as referencer_id, l.product_id, l.key
from ledger_stale('{}', '{}', $3::fact[], '{}', '{}') f
left join licenses l on l.id = $2 and l.account_id = $1

-- name: product_lock
-- Lock a product until the transaction ends, before its objects are read. $1 account, $2 product
select p.id from products p where p.account_id = $1 and p.id = $2 for no key update

-- name: account_lock
-- The same of an account. $1 account, $2 the account again
select a.id from accounts a where a.id = $1 and a.id = $2 for no key update

-- name: read
-- The objects of a product or an account, and whether the product is there. One row. $1 account, $2 type, $3 product or
-- account, $4 facts
select
    f.stale_facts,
    $2 = 0 or exists (select from products p where p.id = $3 and p.account_id = $1) as there,
    array(
        select row (d.id, d.name, d.string_value, d.int_value)
        from data_objects d
        where d.referencer_type = $2 and d.referencer_id = $3 and d.account_id = $1
        order by d.id
    ) as objects
from ledger_stale('{}', '{}', $4::fact[], '{}', '{}') f

-- name: read_all
-- The objects of an account, or ($2, unless 0) of one product with its licenses and their machine codes, whose name
-- contains $3 in whatever case; at most $4, in order of id. $1 account, $5 facts. At least one row, for the facts. It
-- walks along the ids: an index by account would cost every new object more than this costs whoever asks. The collation
-- knows the letters of all alphabets.
select f.stale_facts, o.id, o.name, o.string_value, o.int_value, o.referencer_type, o.referencer_id
from ledger_stale('{}', '{}', $5::fact[], '{}', '{}') f
left join lateral (
    select d.id, d.name, d.string_value, d.int_value, d.referencer_type, d.referencer_id
    from data_objects d
    where d.account_id = $1
      and (
          $2 = 0
          or (d.referencer_type = 1 and d.referencer_id = $2)
          or (
              d.referencer_type in (2, 3)
              and exists (select from licenses l where l.id = d.referencer_id and l.product_id = $2)
          )
      )
      and position(lower($3 collate "pg_c_utf8") in lower(d.name collate "pg_c_utf8")) > 0
    order by d.id
    limit $4
) o on true
order by o.id

-- name: put
-- Add an object, or set its values. $1 account, $2 type, $3 product or account, $4 id, $5 name, $6 string value,
-- $7 int value
insert into data_objects (account_id, referencer_type, referencer_id, id, name, string_value, int_value)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (id) do update set string_value = excluded.string_value, int_value = excluded.int_value

-- name: drop
-- $1 id
delete from data_objects where id = $1

-- name: product_stamp
-- What belongs to the product has changed. $1 product, $2 stamp
update products set stamp = $2 where id = $1
