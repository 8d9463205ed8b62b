-- Messages: broadcasts of an account to client software.

-- name: newer
-- The newest messages made after a time, the newest first, and which of the facts no longer hold. At least one row, for
-- the facts. Each branch walks back along an index of its own; the one that is not asked for is not begun. $1 account,
-- $2 channel ('': all), $3 time, $4 at most so many, $5 facts (tokens)
select f.stale_facts, m.id, m.content, m.created, m.channel
from ledger_stale('{}', '{}', $5::fact[], '{}', '{}') f
left join lateral (
    (
        select a.id, a.content, a.created, a.channel
        from messages a
        where $2 = '' and a.account_id = $1 and a.created > $3
        order by a.created desc, a.id desc
        limit $4
    )
    union all
    (
        select c.id, c.content, c.created, c.channel
        from messages c
        where $2 <> '' and c.account_id = $1 and c.channel = $2 and c.created > $3
        order by c.created desc, c.id desc
        limit $4
    )
) m on true
order by m.created desc, m.id desc

-- name: add
-- $1 account, $2 channel, $3 content, $4 created
insert into messages (account_id, channel, content, created) values ($1, $2, $3, $4) returning id

-- name: remove
-- $1 account, $2 id
delete from messages where account_id = $1 and id = $2 returning id
