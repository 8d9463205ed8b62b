-- Lock one license row until the transaction ends, before it is read. $1 account, $2 product, $3 key
select l.id from licenses l where l.account_id = $1 and l.product_id = $2 and l.key = $3 for no key update
