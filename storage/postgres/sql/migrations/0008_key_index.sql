-- Of the indexes of licenses only that of the keys begins with the product now. While a table is new, PostgreSQL has nothing
-- to tell two such indexes apart by, and took that of the numbers to find a key: so each load read all licenses of its
-- product, until the table was first analyzed. Programs from before never name this constraint.
alter table licenses
    drop constraint licenses_product_id_number_key,
    add constraint licenses_number_product_id_key unique (number, product_id);
