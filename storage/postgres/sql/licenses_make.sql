select outcome, made_for from licenses_make($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
