-- The planner keeps samples of the columns of a table, and would keep those of an emptied one for ever: addresses, machine
-- codes, names and secrets' hashes would outlive their rows. So none are taken of what is personal, or a key. The statements
-- that need to be quick look such columns up by an index, whatever the samples say.

-- PostgreSQL 18 can be told to forget the samples that it has already; 17 keeps those from before this migration.
create function without_samples(p_table regclass, variadic p_columns text[]) returns void language plpgsql volatile
as $$
declare
    v_column text;
    v_schema text;
    v_name text;
begin
    select c.relnamespace::regnamespace::text, c.relname into v_schema, v_name from pg_class c where c.oid = p_table;
    foreach v_column in array p_columns loop
        execute format('alter table %s alter column %I set statistics 0', p_table, v_column);
        if to_regprocedure('pg_clear_attribute_stats(text,text,text,boolean)') is not null then
            perform pg_clear_attribute_stats(v_schema, v_name, v_column, false);
        end if;
    end loop;
end $$;

select without_samples('machines', 'code', 'friendly_name', 'ip', 'proxy_ip');
select without_samples('leases', 'code', 'friendly_name', 'ip');
select without_samples('licenses', 'key', 'notes', 'allowed_machines');
select without_samples('customers', 'name', 'email', 'company_name', 'notes', 'secret_hash');
select without_samples('data_objects', 'name', 'string_value', 'machine_code');
select without_samples(
    'events', 'machine_code', 'feature_name', 'event_name', 'currency', 'metadata');
select without_samples('messages', 'channel', 'content');
select without_samples('tokens', 'name', 'secret_hash');
select without_samples('trial_memory', 'code_hash');
select without_samples('counted_codes', 'code_hash');
select without_samples('object_log', 'changes');
select without_samples('log', 'key', 'ip', 'machine_code', 'friendly_name');
select without_samples(i.inhrelid::regclass, 'key', 'ip', 'machine_code', 'friendly_name')
from pg_inherits i
where i.inhparent = 'log'::regclass;
alter index customers_email alter column 2 set statistics 0;

-- As before; a partition does not have this from the table that it is a part of.
create or replace function log_partition(p_name text, p_from bigint, p_until bigint) returns boolean language plpgsql volatile
as $$
begin
    if to_regclass(p_name) is not null then
        return false;
    end if;
    execute format('create table %I (like log including defaults including constraints)', p_name);
    perform without_samples(p_name::regclass, 'key', 'ip', 'machine_code', 'friendly_name');
    execute format('alter table log attach partition %I for values from (%s) to (%s)', p_name, p_from, p_until);
    return true;
end $$;
