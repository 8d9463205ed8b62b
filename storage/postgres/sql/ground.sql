-- What a database is like before our migrations run in it: ours, empty or somebody else's, and whether we may make tables.
select current_database()::text as database, current_user::text as role, current_setting('server_encoding') as encoding,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create,
       exists (
           select from pg_attribute a where a.attrelid = to_regclass('installation') and a.attname = 'oldest_program'
       ) as ours,
       array(
           select c.relname::text from pg_class c
           where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = current_schema())
             and c.relkind in ('r', 'p', 'f', 'm', 'v') and c.relname <> 'schema_history'
             and not exists (
                 select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
             )
           order by c.relname
       ) as tables
