-- Count calls of one worker in the bucket that all workers share. They have passed already, so they are counted even where
-- they do not fit: if workers that find the bucket full counted nothing, each would let one call through for every place
-- that becomes free, and all together would let pass the rate times their number. The level is known thus, too, when the
-- first that a worker tells is many calls at once.
-- KEYS[1]: one number, the time at which the bucket will have drained (µs; 53 bits hold it to a quarter of one). It goes
-- then by itself.
-- ARGV: the time for which one call fills the bucket, and for how long a full one does (µs, with fractions); calls.
-- Answers how long the next call has to wait (µs; 0: it need not).
local OVERFULL = 8  -- buckets: where a clock was set back, or a great many workers are rushed, the wait has an end too

local interval, tolerance, calls = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
assert(interval and tolerance and calls, 'gcra takes numbers')
local seconds, micros = clock()
local now = seconds * 1000000 + micros
local drained = tonumber(redis.call('GET', KEYS[1])) or 0
drained = math.min(math.max(drained, now) + calls * interval, now + OVERFULL * tolerance)
-- Left to itself, Lua writes 14 digits.
local milliseconds = math.max(math.ceil((drained - now) / 1000), 1)
redis.call('SET', KEYS[1], string.format('%.17g', drained), 'PX', string.format('%.0f', milliseconds))
return math.max(math.floor(drained + interval - tolerance - now), 0)
