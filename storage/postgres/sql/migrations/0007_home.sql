-- Where the database was made or, after a restore, made ready to serve: in which PostgreSQL, as which database and table. In
-- one that was restored or copied by other means this is still that of the first, so `keyturn doctor` finds out when
-- `keyturn restored` was forgotten; but not in a copy of all files. Programs from before do not know of it, and need not.
alter table installation add column home text;

create function current_home() returns text language plpgsql stable
as $$
begin
    return (select s.system_identifier from pg_control_system() s) || '/'
        || (select d.oid from pg_database d where d.datname = current_database()) || '/' || 'installation'::regclass::oid;
exception when insufficient_privilege then
    return null;                                       -- where a provider allows that to nobody, it is not known
end $$;

update installation set home = current_home();
