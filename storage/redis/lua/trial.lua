-- Whether a script may run for this user, and write and remove as ours do. KEYS[1] a key that nobody else uses
redis.call('HSET', KEYS[1], 'a', 1)
return redis.call('DEL', KEYS[1])
