select outcome from events_add($1, $2, $3, $4)
