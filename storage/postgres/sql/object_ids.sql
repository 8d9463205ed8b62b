-- Ids for data objects that are to be made. $1 how many
select nextval(pg_get_serial_sequence('data_objects', 'id')) as id from generate_series(1, $1)
