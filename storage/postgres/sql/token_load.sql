-- A token that is not revoked, with the fact of its parent if it has one. $1 id
select t.id, t.account_id, t.name, t.secret_hash, t.permissions, t.product_lock, t.key_lock, t.feature_lock, t.expires,
       t.stamp, p.id as parent_id, p.stamp as parent_stamp
from tokens t
left join tokens p on p.id = t.parent_id
where t.id = $1 and t.revoked is null and (p.id is null or p.revoked is null)
