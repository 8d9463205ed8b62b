-- What goes in time: when each part of the daily job was last done, how far the log is anonymised, which of its partitions
-- are on their way out; and the indexes that find events that are old and licenses that have expired. Programs from before
-- do not know of it, and need not.

create table retention (
    part  text primary key,
    done  bigint not null default 0                    -- Unix seconds
);
insert into retention (part) values ('machines'), ('log'), ('events'), ('partitions');

-- Of the rows of one month of the log up to this id, none is left to be anonymised.
create table log_anonymised (
    month   bigint primary key,                        -- the time at which its partition begins
    log_id  bigint not null
);

-- Partitions that are to be dropped, noted before they are detached: once detached they are tables like any other, and
-- nobody else would know of one that was not dropped then.
create table log_leaving (
    name  text primary key
);

create index events_age on events (registered, id);

-- Walked by the job that blocks expired licenses, oldest first.
create index licenses_expiry on licenses (product_id, expires, id) where not block;
