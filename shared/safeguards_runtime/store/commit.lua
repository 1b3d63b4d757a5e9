-- Writes changes of one or more records together, or none of them.
--
-- ARGV: number of records, then for each its key and the revision that it must still have;
--       number of claims, then for each its key and the value it must have if it is held;
--       then commands: the number of words, and the words.
-- Returns {1}, or {0, key, revision} where a record has moved on, or {-1, key, value} where a
-- claim is held by another. Bodies are opaque here.
local at = 1
local function take()
  at = at + 1
  return ARGV[at - 1]
end

for _ = 1, tonumber(take()) do
  local key, expected = take(), tonumber(take())
  local revision = tonumber(redis.call('HGET', key, 'r') or '0')
  if revision ~= expected then
    return {0, key, revision}
  end
end
for _ = 1, tonumber(take()) do
  local key, value = take(), take()
  local holder = redis.call('GET', key)
  if holder and holder ~= value then
    return {-1, key, holder}
  end
end
while at <= #ARGV do
  local words = tonumber(take())
  redis.call(unpack(ARGV, at, at + words - 1))
  at = at + words
end
return {1}
