-- Remove derived tokens that ended, they or what they were derived from, before $1; at most $2 of each kind. None of them
-- was good since, so nobody misses them.
delete from tokens t
where t.id in (
    (
        select c.id from tokens c where c.parent_id is not null and least(c.revoked, c.expires) < $1 limit $2
    )
    union all
    (
        select c.id
        from tokens p
        join tokens c on c.parent_id = p.id
        where p.parent_id is null and p.revoked < $1
        limit $2
    )
)
returning t.id
