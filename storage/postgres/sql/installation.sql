-- The first 12 hexadecimal digits of the installation's id.
select left(replace(i.id::text, '-', ''), 12) as id from installation i
