"""Lua scripts of `RedisBatch`: each is one operation that the server executes as a whole, or not at all.

All keys of a script are passed as `KEYS` and have one hash tag, so that the scripts run in a cluster.
"""

from __future__ import annotations

import hashlib
from typing import Final

from nbchat.stores.redis_scripts import Script

_COMMON: Final = """
local function whole(number) return string.format('%.0f', number) end

local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now() return math.floor(microseconds() / 1000) end

local function parsed(text)
  local state, times, owner, response = string.match(text, '^(%a):(%d+):([^:]*):(.*)$')
  return {state = state, times = tonumber(times), owner = owner, response = response}
end

local function find(open, key)
  local text = redis.call('HGET', open, key)
  return text and parsed(text)
end

local function put(open, key, state, times, owner, response)
  redis.call('HSET', open, key, state .. ':' .. whole(times) .. ':' .. owner .. ':' .. response)
end

local function is_live(owners, owner)
  local expires = redis.call('HGET', owners, owner)
  return expires and tonumber(expires) > now()
end

local function keep_for(keys, time)
  if time == '0' then return end
  for _, key in ipairs(keys) do redis.call('PEXPIRE', key, time) end
end

local function renew(owners, owner, lease)
  if redis.call('HGET', owners, owner) == '0' then return false end
  redis.call('HSET', owners, owner, whole(now() + tonumber(lease)))
  return true
end
"""

_READ: Final = """
-- KEYS: answers, open, owners. ARGV: prompts. Returns a row for each answer and each unknown prompt.
local rows = {}
for _, key in ipairs(ARGV) do
  local body = redis.call('HGET', KEYS[1], key)
  if body then
    table.insert(rows, {key, 'answer', body})
  else
    local found = find(KEYS[2], key)
    if found and found.state == 's' and not is_live(KEYS[3], found.owner) then
      table.insert(rows, {key, 'unknown', found.times, found.response})
    end
  end
end
return rows
"""

_NEWS: Final = """
-- KEYS: answers, failed, open, owners, log. ARGV: position in the log, maximum number of its entries.
-- Returns the number of entries that were read, and rows.
local from = tonumber(ARGV[1])
local keys = redis.call('LRANGE', KEYS[5], whole(from), whole(from + tonumber(ARGV[2]) - 1))
local rows = {}
for _, key in ipairs(keys) do
  local body = redis.call('HGET', KEYS[1], key)
  if not body then
    local failed = redis.call('HGET', KEYS[2], key)
    body = failed and string.match(failed, '^%d+:(.*)$')
  end
  table.insert(rows, body and {key, 'outcome', body} or {key, 'free'})
end
local open = redis.call('HGETALL', KEYS[3])
for at = 1, #open, 2 do
  local found = parsed(open[at + 1])
  if not is_live(KEYS[4], found.owner) and redis.call('HEXISTS', KEYS[1], open[at]) == 0 then
    if found.state == 's' then
      table.insert(rows, {open[at], 'unknown', found.times, found.response})
    else
      table.insert(rows, {open[at], 'free'})
    end
  end
end
return {#keys, rows}
"""

_CLAIM: Final = """
-- KEYS: answers, failed, open, owners. ARGV: token, lease in ms, prompt, whether unknown prompts are claimed,
-- position in the log from which on failed prompts are not claimed. Returns whether the prompt is claimed.
local key = ARGV[3]
if redis.call('HEXISTS', KEYS[1], key) == 1 then return 0 end
local failed = redis.call('HGET', KEYS[2], key)
if failed and tonumber(string.match(failed, '^%d+')) >= tonumber(ARGV[5]) then return 0 end
local found = find(KEYS[3], key) or {state = 'w', times = 0, owner = ARGV[1], response = ''}
if found.owner ~= ARGV[1] then
  if is_live(KEYS[4], found.owner) then return 0 end
  if found.state == 's' and ARGV[4] == '0' then return 0 end
end
if not renew(KEYS[4], ARGV[1], ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[2], key)
-- An unknown prompt remains one until it is marked as unanswered, also if its new owner vanishes.
put(KEYS[3], key, found.state, found.times, ARGV[1], found.response)
return 1
"""

_SENT: Final = """
-- KEYS: answers, open, owners. ARGV: token, lease in ms, prompt. Returns whether it may be sent.
local found = find(KEYS[2], ARGV[3])
if not found or found.owner ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then return 0 end
if not renew(KEYS[3], ARGV[1], ARGV[2]) then return 0 end
put(KEYS[2], ARGV[3], 's', found.times + 1, ARGV[1], '')
return 1
"""

_ANSWERING: Final = """
-- KEYS: open. ARGV: token, prompt, id of the response.
local found = find(KEYS[1], ARGV[2])
if found and found.owner == ARGV[1] then put(KEYS[1], ARGV[2], 's', found.times, ARGV[1], ARGV[3]) end
return 1
"""

_UNANSWERED: Final = """
-- KEYS: open. ARGV: token, prompt.
local found = find(KEYS[1], ARGV[2])
if found and found.owner == ARGV[1] then put(KEYS[1], ARGV[2], 'w', found.times, ARGV[1], '') end
return 1
"""

_KEEP: Final = """
-- KEYS: answers, failed, open, owners, log. ARGV: token, prompt, whether it is an answer, body.
local key = ARGV[2]
local found = find(KEYS[3], key)
local is_mine = found and found.owner == ARGV[1]
local is_first = redis.call('HEXISTS', KEYS[1], key) == 0
if ARGV[3] == '1' then
  if is_first then
    redis.call('HSET', KEYS[1], key, ARGV[4])
    redis.call('HDEL', KEYS[2], key)
    redis.call('RPUSH', KEYS[5], key)
  end
elseif is_mine and is_first then
  local length = redis.call('RPUSH', KEYS[5], key)
  redis.call('HSET', KEYS[2], key, whole(length - 1) .. ':' .. ARGV[4])
end
if is_mine or found and ARGV[3] == '1' and not is_live(KEYS[4], found.owner) then
  redis.call('HDEL', KEYS[3], key)
end
return 1
"""

_RENEW: Final = """
-- KEYS: answers, failed, open, owners, log. ARGV: token, lease in ms, time in ms to keep a batch, or 0.
renew(KEYS[4], ARGV[1], ARGV[2])
keep_for(KEYS, ARGV[3])
return 1
"""

_CLOSE: Final = """
-- KEYS: answers, failed, open, owners, log. ARGV: token, whether prompts that were sent are not released,
-- time in ms to keep a batch, or 0.
local open = redis.call('HGETALL', KEYS[3])
for at = 1, #open, 2 do
  local found = parsed(open[at + 1])
  if found.owner == ARGV[1] and (found.state ~= 's' or ARGV[2] == '0') then
    redis.call('HDEL', KEYS[3], open[at])
    redis.call('RPUSH', KEYS[5], open[at])
  end
end
redis.call('HSET', KEYS[4], ARGV[1], '0')
keep_for(KEYS, ARGV[3])
return 1
"""

_TURN: Final = """
-- KEYS: gate. ARGV: interval in microseconds. Returns 0 if a request may be sent, else microseconds to wait.
-- Generic cell rate algorithm without a burst.
local time, found = microseconds(), redis.call('HMGET', KEYS[1], 'next', 'closed')
local wait = math.max(tonumber(found[1] or '0'), tonumber(found[2] or '0')) - time
if wait > 0 then return wait end
local interval = tonumber(ARGV[1])
redis.call('HSET', KEYS[1], 'next', whole(time + interval))
redis.call('PEXPIRE', KEYS[1], whole(math.ceil(interval / 1000) + 60000))
return 0
"""

_CLOSE_GATE: Final = """
-- KEYS: gate. ARGV: microseconds.
local before = tonumber(redis.call('HGET', KEYS[1], 'closed') or '0')
local closed = math.max(before, microseconds() + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'closed', whole(closed))
local left = math.max(redis.call('PTTL', KEYS[1]), math.ceil(tonumber(ARGV[1]) / 1000) + 60000)
redis.call('PEXPIRE', KEYS[1], whole(left))
return 1
"""


def _script(text: str) -> Script:
    whole = _COMMON + text
    return Script(whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())


READ: Final = _script(_READ)
NEWS: Final = _script(_NEWS)
CLAIM: Final = _script(_CLAIM)
SENT: Final = _script(_SENT)
ANSWERING: Final = _script(_ANSWERING)
UNANSWERED: Final = _script(_UNANSWERED)
KEEP: Final = _script(_KEEP)
RENEW: Final = _script(_RENEW)
CLOSE: Final = _script(_CLOSE)
TURN: Final = _script(_TURN)
CLOSE_GATE: Final = _script(_CLOSE_GATE)
