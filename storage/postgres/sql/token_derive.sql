select outcome, license_id, token_id from token_derive($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
