select a.id, a.name, a.public_key from accounts a order by a.id
