-- The server's time: whole seconds, and the microseconds beyond. One clock decides on every seat, that of the server;
-- the workers' clocks may differ.
local function clock()
    local time = redis.call('TIME')
    return tonumber(time[1]), tonumber(time[2])
end
