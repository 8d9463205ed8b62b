insert into lanes (id) values ($1)
