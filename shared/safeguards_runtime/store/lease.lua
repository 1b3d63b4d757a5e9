-- Leases what is due on an agenda: moves it behind `now + lease`, so that no other clock takes it.
--
-- KEYS: the agenda. ARGV: how many at most, lease in milliseconds.
-- Returns {milliseconds until the next is due or -1, id, id, …}. The clock is the store's own.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), id)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local wait = -1
if next[2] then
  wait = math.max(0, tonumber(next[2]) - now)
end
return {wait, unpack(due)}
