-- Floating seats: their leases, who decides on them (the epoch), and the ledger that writes them. The words epoch, lease
-- and rank are those of records.py.

update installation set oldest_program = 2;

-- `lease_epoch` needs no fact of its own: whatever changes these three draws the license a new stamp, as every change of
-- a row that is a fact does, so that no verdict from before it is committed after it.
-- `lease_ready` is for odd epochs. A license that is loaded between the raising and the end of the last batch from before
-- it would lack the rows that this batch is still writing, and have the same stamp as the one with them. So the rows of
-- `leases` belong to a license only while its epoch is odd and ready; whoever finds it odd and not ready waits for those
-- batches (the barrier) and marks it, which draws a new stamp.
alter table licenses
    add column lease_epoch bigint not null default 0,
    add column lease_epoch_at bigint not null default 0,   -- when it was raised, by this server's clock
    add column lease_ready boolean not null default false,
    -- The stamps before and after the last raising to an even epoch. Nothing else of the license has changed by it, so who
    -- has it in memory with the first, while it still has the second, need not read it again.
    add column lifted_from bigint,
    add column lifted_to bigint;

-- One row for each license and machine code that has or had a seat. No index but the key, and room in each page: so a
-- heartbeat, which writes its row again, touches no index. The account is the license's; a reference to it would be
-- checked with every new seat and say nothing.
create table leases (
    license_id     bigint not null references licenses,
    code           text collate "C" not null,
    account_id     bigint not null,
    kind           smallint not null,                  -- 1 regular, 2 overdraft
    start          bigint not null,
    time           bigint not null,
    expires        bigint not null,                    -- of a released one: when it was released
    friendly_name  text not null,
    ip             text not null,                      -- masked before it came here
    epoch          bigint not null,
    seq            bigint not null,
    released       boolean not null,
    primary key (license_id, code)
) with (fillfactor = 70);

-- Keyed hashes of machine codes whose floating seat has started the trial countdown of the license.
create table counted_codes (
    license_id  bigint not null references licenses,
    code_hash   bytea not null,
    account_id  bigint not null,
    primary key (license_id, code_hash)
);

-- As in changed_machine: `n` is the ordinal of the license in its batch. From `code` on the order is that of records.Lease.
create type lease as (
    n integer, license_id bigint, account_id bigint,
    code text, kind smallint, start bigint, time bigint, expires bigint, friendly_name text, ip text, epoch bigint,
    seq bigint, released boolean);
create type counted_code as (n integer, license_id bigint, account_id bigint, code_hash bytea);

drop function ledger_write;

-- One batch of the ledger, once: the number moves from n-1 to n and the batch is applied, or it is n already and the
-- stored answer is given. Licenses that are stale are left out with all that belongs to them. The text is that of
-- 0001_first.sql but for what it says of leases and counted codes.
create function ledger_write(
    p_lane bigint, p_number bigint,
    p_licenses bigint[], p_stamps bigint[], p_facts fact[], p_pair_license integer[], p_pair_fact integer[],
    p_changed changed_license[], p_forgotten forgotten_machine[], p_machines changed_machine[],
    p_entries log_entry[], p_entry_license integer[], p_edits object_edit[], p_edit_license integer[],
    p_leases lease[], p_counted counted_code[],
    out stale_licenses integer[], out stale_facts integer[]
) language plpgsql volatile
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
declare
    v_lane lanes;
    v_stale integer[];
begin
    perform log_writer_begins();
    -- A batch that is sent again waits here until its first sending has ended.
    select * into v_lane from lanes where id = p_lane for update;
    if v_lane.last = p_number and not v_lane.abandoned then
        stale_licenses := v_lane.stale_licenses;
        stale_facts := v_lane.stale_facts;
        return;
    elsif v_lane.last is distinct from p_number - 1 then
        raise exception 'lane % is not at batch %', p_lane, p_number - 1 using errcode = 'KT001';
    end if;
    -- Those that change, in one order everywhere: no deadlocks. The check is a later statement, so it sees what the
    -- lock waited for.
    if cardinality(p_changed) > 0 then
        perform from licenses l where l.id in (select c.id from unnest(p_changed) c) order by l.id for no key update;
    end if;
    select s.stale_licenses, s.stale_facts into stale_licenses, stale_facts
    from ledger_stale(p_licenses, p_stamps, p_facts, p_pair_license, p_pair_fact) s;
    v_stale := stale_licenses;
    if cardinality(p_changed) > 0 then
        update licenses l
        set stamp = c.stamp, expires = c.expires, period = c.period, block = c.block, max_machines = c.max_machines,
            ever_activated = c.ever_activated
        from unnest(p_changed) c
        where l.id = c.id and c.n <> all (v_stale);
    end if;
    if cardinality(p_forgotten) > 0 then
        delete from machines m using unnest(p_forgotten) f
        where m.license_id = f.license_id and m.code = f.code and f.n <> all (v_stale);
        delete from data_objects d using unnest(p_forgotten) f
        where d.referencer_type = 3 and d.referencer_id = f.license_id and d.machine_code = f.code
          and f.n <> all (v_stale);
    end if;
    if cardinality(p_machines) > 0 then
        insert into machines (license_id, account_id, code, friendly_name, ip, proxy_ip, time)
        select m.license_id, m.account_id, m.code, m.friendly_name, m.ip, m.proxy_ip, m.time
        from unnest(p_machines) m
        where m.n <> all (v_stale)
        on conflict (license_id, code) do update
        set friendly_name = excluded.friendly_name, ip = excluded.ip, proxy_ip = excluded.proxy_ip, time = excluded.time;
    end if;
    -- Of the rows of one machine the higher (epoch, seq, released) counts, whatever the order of commits. In one order
    -- everywhere: no deadlocks between batches that renew the same seats, whose licenses nobody locks.
    if cardinality(p_leases) > 0 then
        insert into leases (license_id, code, account_id, kind, start, time, expires, friendly_name, ip, epoch, seq,
                            released)
        select s.license_id, s.code, s.account_id, s.kind, s.start, s.time, s.expires, s.friendly_name, s.ip, s.epoch,
               s.seq, s.released
        from unnest(p_leases) s
        where s.n <> all (v_stale)
        order by s.license_id, s.code collate "C"
        on conflict (license_id, code) do update
        set kind = excluded.kind, start = excluded.start, time = excluded.time, expires = excluded.expires,
            friendly_name = excluded.friendly_name, ip = excluded.ip, epoch = excluded.epoch, seq = excluded.seq,
            released = excluded.released
        where (excluded.epoch, excluded.seq, excluded.released) > (leases.epoch, leases.seq, leases.released);
    end if;
    if cardinality(p_counted) > 0 then
        insert into counted_codes (license_id, code_hash, account_id)
        select c.license_id, c.code_hash, c.account_id
        from unnest(p_counted) c
        where c.n <> all (v_stale)
        order by c.license_id, c.code_hash
        on conflict (license_id, code_hash) do nothing;
    end if;
    -- Ids are drawn in the order of the batch.
    insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,
                     floating_expires, do_int_value, do_id)
    select e.account_id, e.product_id, e.license_id, e.key, e.ip, e.time, e.state, e.machine_code, e.friendly_name,
           e.floating_expires, e.do_int_value, e.do_id
    from unnest(p_entries, p_entry_license) with ordinality as e (
        account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name, floating_expires,
        do_int_value, do_id, n, ordinal)
    where e.n <> all (v_stale)
    order by e.ordinal;
    if cardinality(p_edits) > 0 then
        insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
        select e.account_id, e.time, e.object_type, e.object_id, e.action, e.token_id, e.changes::jsonb
        from unnest(p_edits, p_edit_license) as e (
            account_id, time, object_type, object_id, action, token_id, changes, n)
        where e.n <> all (v_stale);
    end if;
    update lanes l
    set last = p_number, stale_licenses = ledger_write.stale_licenses, stale_facts = ledger_write.stale_facts,
        abandoned = false, used = now()
    where l.id = p_lane;
end $$;

-- Raise the epochs of licenses, where they still are those named, to the next odd (`p_to_table`) or even number above the
-- old one and above twice the Unix milliseconds of now: a database from a backup never names an epoch again that was used
-- after the backup. Returns those that were raised. Writes no log and no lease, so it takes no writers' lock.
create function leases_lift(p_licenses bigint[], p_epochs bigint[], p_stamps bigint[], p_to_table boolean)
returns table (
    id bigint, lease_epoch bigint, lease_epoch_at bigint, lease_ready boolean, stamp bigint, lifted_from bigint,
    lifted_to bigint)
language plpgsql volatile
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
declare
    v_now numeric;
begin
    -- In the ledger's order, and compared in a later statement, which sees what the lock waited for.
    perform from licenses l where l.id = any (p_licenses) order by l.id for no key update;
    v_now := extract(epoch from clock_timestamp());
    return query
    update licenses l
    set lease_epoch = m.above + 2 - (m.above + p_to_table::integer) % 2, lease_epoch_at = floor(v_now),
        lease_ready = false, stamp = m.stamp, lifted_from = case when not p_to_table then l.stamp end,
        lifted_to = case when not p_to_table then m.stamp end
    from (
        select w.id, w.epoch, w.stamp, greatest(w.epoch, 2 * floor(v_now * 1000)::bigint) as above
        from unnest(p_licenses, p_epochs, p_stamps) as w (id, epoch, stamp)
    ) m
    where l.id = m.id and l.lease_epoch = m.epoch
    returning l.id, l.lease_epoch, l.lease_epoch_at, l.lease_ready, l.stamp, l.lifted_from, l.lifted_to;
end $$;

-- Mark odd epochs ready, where they still are those named: for whoever has passed the barrier after they were raised.
create function leases_ready(p_licenses bigint[], p_epochs bigint[], p_stamps bigint[]) returns void
language plpgsql volatile
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
begin
    perform from licenses l where l.id = any (p_licenses) order by l.id for no key update;
    update licenses l
    set lease_ready = true, stamp = w.stamp
    from unnest(p_licenses, p_epochs, p_stamps) as w (id, epoch, stamp)
    where l.id = w.id and l.lease_epoch = w.epoch and l.lease_epoch % 2 = 1 and not l.lease_ready;
end $$;
