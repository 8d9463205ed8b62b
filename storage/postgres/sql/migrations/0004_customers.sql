-- Customers: all that is kept of them, and the functions that make, change and remove them. Licenses may be made along with
-- the customer whom they are for.

update installation set oldest_program = 4;

alter table customers
    add column notes text not null default '',
    add column enable_customer_association boolean not null default false,
    add column allow_activation_management boolean not null default false,
    add column allow_multiple_user_association boolean not null default false,
    add column max_no_of_devices integer not null default 0,   -- 0: no limit
    add column secret_hash bytea;                      -- SHA-256 of the secret, which is kept nowhere; null: it has none
create unique index customers_secret_hash on customers (account_id, secret_hash);
-- By email, whatever the case. The collation knows the letters of all alphabets, whatever the database was made with.
create index customers_email on customers (account_id, lower(email collate "pg_c_utf8")) where email <> '';

-- The licenses of a customer, in the order in which they are listed and let go.
create index licenses_customer on licenses (customer_id, id) where customer_id is not null;
drop index licenses_customer_id_idx;

-- In the order of records.NewCustomer.
create type new_customer as (
    name text, email text, company_name text, notes text, enable_customer_association boolean,
    allow_activation_management boolean, allow_multiple_user_association boolean, secret_hash bytea, created bigint,
    stamp bigint);
-- In the order of records.CustomerEdit. Null leaves a value as it is.
create type customer_change as (
    name text, email text, company_name text, notes text, enable_customer_association boolean,
    allow_activation_management boolean, allow_multiple_user_association boolean, max_no_of_devices integer,
    secret_hash bytea);

-- The object log learns which values a customer was given, never the values: they are personal.
create function customer_fields(p_fields text[], p_set boolean[]) returns jsonb language sql immutable
as $$
    select coalesce(jsonb_object_agg(f.field, true), '{}')
    from unnest(p_fields, p_set) as f (field, is_set)
    where f.is_set
$$;

-- Make a customer, with its row in the object log; part of a transaction that holds the writers' lock.
create function customer_make(p_account bigint, p_customer new_customer, p_now bigint, p_token bigint) returns bigint
language plpgsql volatile
as $$
declare
    v_id bigint;
begin
    insert into customers (account_id, name, email, company_name, notes, enable_customer_association,
                           allow_activation_management, allow_multiple_user_association, secret_hash, created, stamp)
    values (p_account, p_customer.name, p_customer.email, p_customer.company_name, p_customer.notes,
            p_customer.enable_customer_association, p_customer.allow_activation_management,
            p_customer.allow_multiple_user_association, p_customer.secret_hash, p_customer.created, p_customer.stamp)
    returning id into v_id;
    insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
    values (p_account, p_now, 'Customer', v_id, 'AddCustomer', p_token, customer_fields(
        array['name', 'email', 'companyName', 'notes', 'enableCustomerAssociation', 'allowActivationManagement',
              'allowMultipleUserAssociation', 'secret'],
        array[p_customer.name <> '', p_customer.email <> '', p_customer.company_name <> '', p_customer.notes <> '',
              p_customer.enable_customer_association, p_customer.allow_activation_management,
              p_customer.allow_multiple_user_association, p_customer.secret_hash is not null]));
    return v_id;
end $$;

-- In the following `outcome` is: done, token (a token has changed), customer (there is no such customer).

create function customer_add(
    p_account bigint, p_facts fact[], p_customer new_customer, p_now bigint, p_token bigint,
    out outcome text, out customer_id bigint
) language plpgsql volatile
as $$
begin
    perform log_writer_begins();
    if exists (select from ledger_stale('{}', '{}', p_facts, '{}', '{}') s where cardinality(s.stale_facts) > 0) then
        outcome := 'token';
        return;
    end if;
    customer_id := customer_make(p_account, p_customer, p_now, p_token);
    outcome := 'done';
end $$;

-- Set what is given. If that changes anything the customer gets the new stamp, on which its licenses rest.
-- `is_associable`: whether it may be associated with a user, as it is then.
create function customer_edit(
    p_account bigint, p_facts fact[], p_customer bigint, p_change customer_change, p_stamp bigint, p_now bigint,
    p_token bigint, out outcome text, out is_associable boolean
) language plpgsql volatile
as $$
declare
    v_fields text[] := array['name', 'email', 'companyName', 'notes', 'enableCustomerAssociation',
                             'allowActivationManagement', 'allowMultipleUserAssociation', 'maxNoOfDevices', 'secret'];
    v_set boolean[];
begin
    perform log_writer_begins();
    if exists (select from ledger_stale('{}', '{}', p_facts, '{}', '{}') s where cardinality(s.stale_facts) > 0) then
        outcome := 'token';
        return;
    end if;
    -- Null where nothing is given.
    select array[c.name <> p_change.name, c.email <> p_change.email, c.company_name <> p_change.company_name,
                 c.notes <> p_change.notes, c.enable_customer_association <> p_change.enable_customer_association,
                 c.allow_activation_management <> p_change.allow_activation_management,
                 c.allow_multiple_user_association <> p_change.allow_multiple_user_association,
                 c.max_no_of_devices <> p_change.max_no_of_devices, p_change.secret_hash is not null],
           coalesce(p_change.enable_customer_association, c.enable_customer_association)
    into v_set, is_associable
    from customers c
    where c.id = p_customer and c.account_id = p_account
    for no key update;
    if not found then
        outcome := 'customer';
        return;
    end if;
    if true = any (v_set) then
        update customers c
        set name = coalesce(p_change.name, c.name), email = coalesce(p_change.email, c.email),
            company_name = coalesce(p_change.company_name, c.company_name), notes = coalesce(p_change.notes, c.notes),
            enable_customer_association = is_associable,
            allow_activation_management
                = coalesce(p_change.allow_activation_management, c.allow_activation_management),
            allow_multiple_user_association
                = coalesce(p_change.allow_multiple_user_association, c.allow_multiple_user_association),
            max_no_of_devices = coalesce(p_change.max_no_of_devices, c.max_no_of_devices),
            secret_hash = coalesce(p_change.secret_hash, c.secret_hash), stamp = p_stamp
        where c.id = p_customer;
    end if;
    insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
    values (p_account, p_now, 'Customer', p_customer, 'EditCustomer', p_token, customer_fields(v_fields, v_set));
    outcome := 'done';
end $$;

-- One step on the way to removing a customer: as many of its licenses as there are stamps lose it. In id order, as the
-- ledger locks them: no deadlocks. `left_by`: how many licenses lost it.
create function customer_leaves(
    p_account bigint, p_facts fact[], p_customer bigint, p_stamps bigint[], p_now bigint, p_token bigint,
    out outcome text, out left_by integer
) language plpgsql volatile
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set jit = off
as $$
declare
    v_licenses bigint[];
begin
    perform log_writer_begins();
    if exists (select from ledger_stale('{}', '{}', p_facts, '{}', '{}') s where cardinality(s.stale_facts) > 0) then
        outcome := 'token';
        return;
    end if;
    if not exists (select from customers c where c.id = p_customer and c.account_id = p_account) then
        outcome := 'customer';
        return;
    end if;
    v_licenses := array(
        select l.id from licenses l
        where l.customer_id = p_customer
        order by l.id
        limit cardinality(p_stamps)
        for no key update
    );
    left_by := cardinality(v_licenses);
    update licenses l
    set customer_id = null, stamp = w.stamp
    from unnest(v_licenses, p_stamps[1:left_by]) as w (id, stamp)
    where l.id = w.id;
    insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
    select p_account, p_now, 'Key', w.id, 'RemoveCustomer', p_token,
           jsonb_build_object('customerId', jsonb_build_array(p_customer, null))
    from unnest(v_licenses) as w (id);
    outcome := 'done';
end $$;

-- The last step. A license that was assigned to the customer meanwhile makes it fail by its foreign key.
create function customer_remove(
    p_account bigint, p_facts fact[], p_customer bigint, p_now bigint, p_token bigint, out outcome text
) language plpgsql volatile
as $$
begin
    perform log_writer_begins();
    if exists (select from ledger_stale('{}', '{}', p_facts, '{}', '{}') s where cardinality(s.stale_facts) > 0) then
        outcome := 'token';
        return;
    end if;
    delete from customers c where c.id = p_customer and c.account_id = p_account;
    if not found then
        outcome := 'customer';
        return;
    end if;
    insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
    values (p_account, p_now, 'Customer', p_customer, 'RemoveCustomer', p_token, '{}');
    outcome := 'done';
end $$;

drop function licenses_make;

-- Make licenses in one product, in one transaction with their rows in both logs; or log once why none is made. With
-- `p_customer` they are for a customer who is made along with them, or (`p_reuse`) for the oldest one with that email.
-- `outcome`: done, stale (the product has changed), token (a token has changed), customer (there is no such customer).
-- The text is that of 0001_first.sql but for what it says of customers.
create function licenses_make(
    p_account bigint, p_product bigint, p_product_stamp bigint, p_tokens fact[],
    p_licenses new_license[], p_machines changed_machine[], p_trial_code bytea, p_entry log_entry, p_token bigint,
    p_customer new_customer, p_reuse boolean, out outcome text, out made_for bigint
) language plpgsql volatile
set plan_cache_mode = force_custom_plan set jit = off
as $$
declare
    v_last bigint;
begin
    perform log_writer_begins();
    if exists (
        select from unnest(p_tokens) f
        where not exists (select from tokens t where t.id = f.id and t.stamp = f.stamp and t.revoked is null)
    ) then
        outcome := 'token';
        return;
    end if;
    if not exists (select from products p where p.id = p_product and p.stamp = p_product_stamp) then
        outcome := 'stale';
        return;
    end if;
    -- Locked as their foreign key locks them, so that a customer who is being removed is none, and no error either.
    perform from customers c
    where c.id in (select l.customer_id from unnest(p_licenses) l) and c.account_id = p_account
    order by c.id for key share;
    if exists (
        select from unnest(p_licenses) l
        where l.customer_id is not null
          and not exists (select from customers c where c.id = l.customer_id and c.account_id = p_account)
    ) then
        outcome := 'customer';
        return;
    end if;
    outcome := 'done';
    if cardinality(p_licenses) = 0 then
        insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,
                         floating_expires, do_int_value, do_id)
        values (p_account, p_product, 0, '', p_entry.ip, p_entry.time, p_entry.state, p_entry.machine_code,
                p_entry.friendly_name, 0, 0, 0);
        return;
    end if;
    if p_reuse then
        -- One at a time for each email: of those who come at once the first makes the customer, and the others find it,
        -- in a later statement, which sees what the lock waited for. In two numbers, it is none of the locks with one.
        perform pg_advisory_xact_lock(hashint8(p_account), hashtext(lower(p_customer.email collate "pg_c_utf8")));
        select c.id into made_for
        from customers c
        where c.account_id = p_account and c.email <> ''
          and lower(c.email collate "pg_c_utf8") = lower(p_customer.email collate "pg_c_utf8")
        order by c.id
        limit 1
        for key share;
    end if;
    if made_for is null and p_customer.created is not null then
        made_for := customer_make(p_account, p_customer, p_entry.time, p_token);
    end if;
    update product_counters set last = last + cardinality(p_licenses) where product_id = p_product
    returning last - cardinality(p_licenses) into v_last;
    with made as (
        insert into licenses (account_id, product_id, number, key, created, expires, period, features, notes, block,
                              customer_id, trial_activation, ever_activated, max_machines, allowed_machines, stamp)
        select p_account, p_product, v_last + l.n, l.key, l.created, l.expires, l.period, l.features, l.notes, l.block,
               coalesce(made_for, l.customer_id), l.trial_activation, cardinality(p_machines) > 0, l.max_machines,
               l.allowed_machines, l.stamp
        from unnest(p_licenses) with ordinality as l (
            key, created, expires, period, features, notes, block, customer_id, trial_activation, max_machines,
            allowed_machines, stamp, n)
        returning id, key, number, period, features, max_machines
    ), with_machine as (
        insert into machines (license_id, account_id, code, friendly_name, ip, proxy_ip, time)
        select made.id, p_account, m.code, m.friendly_name, m.ip, m.proxy_ip, m.time
        from made, unnest(p_machines) m
    ), remembered as (
        insert into trial_memory (product_id, code_hash, account_id, license_id)
        select p_product, p_trial_code, p_account, made.id from made where p_trial_code is not null
    ), logged as (
        insert into log (account_id, product_id, license_id, key, ip, time, state, machine_code, friendly_name,
                         floating_expires, do_int_value, do_id)
        select p_account, p_product, made.id, made.key, p_entry.ip, p_entry.time, p_entry.state, p_entry.machine_code,
               p_entry.friendly_name, 0, 0, 0
        from made order by made.number
    )
    insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
    select p_account, p_entry.time, 'Key', made.id, 'Create', p_token,
           jsonb_build_object('period', made.period, 'features', made.features, 'maxNoOfMachines', made.max_machines)
    from made order by made.number;
end $$;
