-- The licenses that the job which blocks expired ones has to look at.

-- name: products
-- Those that want it, and what makes their licenses time-limited: all are, or those with one of these features.
select p.id, p.account_id, p.all_time_limited,
       (
           select coalesce(bit_or(1 << (f.n - 1)::integer), 0)
           from unnest(p.feature_types) with ordinality as f (type, n)
           where f.type = 1
       ) as features
from products p
where p.block_expired
order by p.id

-- name: look
-- The next licenses of a product that have expired and are not blocked, oldest first, and whether each is one to decide
-- on. What is left out by that the rule would leave as it is (expiry.py); there may be very many of them.
-- $1 product, $2 expiry and $3 id of the license to begin after, $4 now, $5 how many to look at, $6 whether all are
-- time-limited, $7 the features that make one so
with looked as materialized (
    select l.id, l.expires, l.key, l.features, l.trial_activation, l.max_machines
    from licenses l
    where l.product_id = $1 and not l.block and l.expires <= $4 and (l.expires, l.id) > ($2, $3)
    order by l.expires, l.id
    limit $5
)
select k.id, k.expires, k.key,
       ($6 or k.features & $7 <> 0)
       and not (
           k.trial_activation
           and (select count(*) from machines m where m.license_id = k.id) < k.max_machines
       )
       and not exists (
           select from data_objects d
           where d.referencer_type = 2 and d.referencer_id = k.id and d.name = 'cryptolens_stripesubscriptionitemid'
       ) as due
from looked k
order by k.expires, k.id
