"""Lua scripts of `RedisStore`: each is one operation that the server executes as a whole, or not at all.

A script first reads and checks, then writes, so a refused operation changes nothing. Its first write is one
that a full server refuses; after it, the server refuses none. Claims and renewals, and writes that delete a
session, begin with a write that a full server accepts: they need little memory, or free some.

All keys of a script are passed as `KEYS` and have one hash tag, so that the scripts run in a cluster.

====================  =========  =====================================================================
`<prefix>:{<ns>}:…`   type       contents
====================  =========  =====================================================================
`head`                hash       `layout`; the last claim: `token`, `lease`, `expires` (ms, 0: released),
                                 `address` of the process; `writes`, a number that orders write ids
`tokens`              zset       tokens that have claimed, in order
`writes`              zset       `+<id>` of accepted and `-<id>` of abandoned writes of the last token
`sessions`            zset       ids of sessions, in order
`facts`               hash       properties of the store
`acks`, `ack_order`   hash, list acknowledgements by command, and the commands in order
`s:<id>:base`         hash       `seq`, `crc`, `body` of the base; or `gone`, `crc` of the deletion
`s:<id>:log`          stream     stretches; the id is `<last event>-0`: `f` first event, `e` epoch, `c` crc,
                                 `b` body. One that needs the bodies before it (`bodies.py`) has the epoch
                                 of the stretch before it, and an empty `e`
`s:<id>:ends`         hash       the event that ended each run
====================  =========  =====================================================================
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct

from nbchat.stores.base import MAX_ACKNOWLEDGED, MAX_TOKENS, MAX_WRITE_IDS
from nbchat.stores.fence import CLOCK_S

LAYOUT: Final = 2
"""Version of the keys. It increases when an older nbchat could misread them."""

_COMMON: Final = """
local function whole(number) return string.format('%.0f', number) end

-- The server's clock in milliseconds, unless a test passes another one.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function last_lease(head)
  local found = redis.call('HMGET', head, 'token', 'lease', 'expires')
  if not found[1] then return nil end
  return {token = found[1], lease = tonumber(found[2]), expires = tonumber(found[3])}
end

local function may_pass(last, now, after)
  return last.expires == 0 or last.token == after or now >= last.expires
    or last.expires - now > last.lease + CLOCK_MS
end

-- A full server accepts HDEL, even of a field that does not exist, and then the rest of the script.
local function pass_when_full(head) redis.call('HDEL', head, '-') end

local function put_claim(head, tokens, token, lease, expires, address)
  redis.call('HSET', head, 'layout', LAYOUT, 'token', token, 'lease', whole(lease), 'expires', whole(expires),
    'address', address)
  local top = redis.call('ZREVRANGE', tokens, 0, 0, 'WITHSCORES')
  redis.call('ZADD', tokens, 'NX', top[2] and whole(tonumber(top[2]) + 1) or '1', token)
  redis.call('ZREMRANGEBYRANK', tokens, 0, -(MAX_TOKENS + 1))
end
"""

_CLAIM: Final = """
-- KEYS: head, tokens, writes.
-- ARGV: clock, token, lease in ms, after, the last token that is required or '*', the holder's address.
-- Returns whether the token holds the lease, and the tokens that claimed before it.
local now, token, lease = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local last = last_lease(KEYS[1])
local previous = last and last.token or ''
if previous ~= token then
  if ARGV[5] ~= '*' and previous ~= ARGV[5] then return {0} end
  if redis.call('ZSCORE', KEYS[2], token) or last and not may_pass(last, now, ARGV[4]) then return {0} end
end
pass_when_full(KEYS[1])
if previous ~= token then redis.call('DEL', KEYS[3]) end
put_claim(KEYS[1], KEYS[2], token, lease, now + lease, ARGV[6])
return {1, redis.call('ZREVRANGE', KEYS[2], 1, -1)}
"""

_RENEW: Final = """
-- KEYS: head, tokens, writes. ARGV: clock, token, lease in ms, the last accepted write or ''.
local now, token, lease = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local last = last_lease(KEYS[1])
if not last or last.token ~= token or last.expires == 0 then
  if redis.call('ZSCORE', KEYS[2], token) then return {'lost'} end
  return {'unknown', last and last.token or ''}
end
pass_when_full(KEYS[1])
redis.call('HSET', KEYS[1], 'lease', whole(lease), 'expires', whole(now + lease))
if ARGV[4] ~= '' and not redis.call('ZSCORE', KEYS[3], '+' .. ARGV[4]) then return {'older'} end
return {'ok'}
"""

_RELEASE: Final = """
-- KEYS: head, writes. ARGV: token.
local last = last_lease(KEYS[1])
if not last or last.token ~= ARGV[1] then return 0 end
pass_when_full(KEYS[1])
redis.call('HSET', KEYS[1], 'expires', '0')
redis.call('DEL', KEYS[2])
return 1
"""

_WRITE: Final = """
-- KEYS: head, tokens, writes, sessions, acks, ack_order; then base, log and ends of each session.
-- ARGV: clock, token or '', write id or a token for a claim without a lease, the last accepted write or '',
-- then the abandoned writes, the names of the sessions, and the records, each list after its length.
local head, tokens, writes, sessions, acks, ack_order = unpack(KEYS, 1, 6)
local now, token, write_id = clock(ARGV[1]), ARGV[2], ARGV[3]
local fenced = token ~= ''
local at = 5
local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end

local last = last_lease(head)
if fenced then
  if not last or last.token ~= token or last.expires == 0 then
    if redis.call('ZSCORE', tokens, token) then return {'lost'} end
    return {'unknown', last and last.token or ''}
  end
  local found = redis.call('ZMSCORE', writes, '+' .. write_id, '-' .. write_id, '+' .. ARGV[4])
  if found[1] then return {'ok'} end
  if found[2] then return {'abandoned'} end
  if ARGV[4] ~= '' and not found[3] then return {'older'} end
elseif last and last.lease ~= 0 and not may_pass(last, now, '') then
  return {'busy', last.token}
end

local abandoned, names = {}, {}
for n = 1, tonumber(take()) do abandoned[n] = take() end
for n = 1, tonumber(take()) do names[n] = take() end

local function value_of(entry, name)
  local fields = entry and entry[2] or {}
  for n = 1, #fields, 2 do if fields[n] == name then return fields[n + 1] end end
end

local function needs_others(body) return string.byte(body or '') == 1 end

-- The state of a session as the earlier records of this write leave it.
local states = {}
local function state_of(index)
  local state = states[index]
  if state then return state end
  local key = 4 + 3 * index
  local found = redis.call('HMGET', KEYS[key], 'seq', 'gone')
  local top = redis.call('XREVRANGE', KEYS[key + 1], '+', '-', 'COUNT', 1)[1]
  state = {
    base = tonumber(found[1] or 0), gone = found[2] and true or false, ends = {}, written = {},
    top = top and tonumber(string.match(top[1], '^%d+')) or 0, stored = true, top_crc = value_of(top, 'c'),
    index = index, key = key, new = not (found[1] or found[2] or top),
  }
  states[index] = state
  return state
end

local function end_of(state, run)
  if state.ends[run] then return state.ends[run] end
  local found = state.stored and redis.call('HGET', KEYS[state.key + 2], run)
  return found and tonumber(found) or nil
end

local function first_of(entry) return tonumber(value_of(entry, 'f')) end

local function writer_of(state, seq)
  for n = #state.written, 1, -1 do
    local one = state.written[n]
    if one.first <= seq and seq <= one.last then return one.epoch end
  end
  if not state.stored then return nil end
  local entry = redis.call('XRANGE', KEYS[state.key + 1], whole(seq) .. '-0', '+', 'COUNT', 1)[1]
  if not entry or first_of(entry) > seq then return nil end
  local epoch = value_of(entry, 'e')
  if epoch ~= '' then return epoch end
  for _, earlier in ipairs(redis.call('XREVRANGE', KEYS[state.key + 1], entry[1], '-')) do
    epoch = value_of(earlier, 'e')
    if epoch ~= '' then return epoch end
  end
end

local refused, repeats = nil, 0
local function admits(state, record)
  if record.kind == 'G' then return true end
  local top = math.max(state.base, state.top)
  if record.kind == 'B' then
    if record.last < top then return false end
  else
    if state.gone then
      refused = {'conflict', 'gone', state.index}
      return false
    end
    if record.first > top + 1 then
      refused = {'conflict', 'gap', state.index, top + 1, record.first - 1}
      return false
    end
    local first = math.max(record.first, state.base + 1)
    for _, seq in ipairs({first, math.min(record.last, top)}) do
      local writer = first <= seq and seq <= top and writer_of(state, seq)
      if writer and writer ~= record.epoch then
        refused = {'conflict', 'writer', state.index, seq, writer}
        return false
      end
    end
    if record.last <= top then
      repeats = repeats + 1
      return false
    end
    if record.after ~= '' and (state.top ~= record.first - 1 or state.top_crc ~= record.after) then
      refused = {'tail'}
      return false
    end
  end
  for _, run in ipairs(record.runs) do
    local ended = end_of(state, run.id)
    if ended and not (record.kind == 'B' and run.over) and run.seq > ended then
      refused = {'conflict', 'over', state.index, run.seq, run.id, ended}
      return false
    end
  end
  return true
end

-- Without a lease, a record may replace stretches in the middle that later ones need.
local function is_needed(state, record)
  if record.kind == 'G' or not state.stored or record.last >= state.top then return false end
  for _, entry in ipairs(redis.call('XRANGE', KEYS[state.key + 1], whole(record.last + 1) .. '-0', '+')) do
    if needs_others(value_of(entry, 'b')) then return true end
  end
  return false
end

-- Records, and then the writes that they need.
local todo, new_acks, frees = {}, {}, false
for n = 1, tonumber(take()) do
  local record = {kind = take()}
  if record.kind == 'A' then
    new_acks[#new_acks + 1] = {take(), take()}
  else
    local state = state_of(tonumber(take()))
    record.state, record.last_id, record.crc, record.body = state, take(), take(), take()
    record.last = tonumber(record.last_id)
    record.runs = {}
    if record.kind == 'S' then
      record.first_id, record.epoch, record.after = take(), take(), take()
      record.first = tonumber(record.first_id)
    end
    for r = 1, tonumber(take()) do
      record.runs[r] = {id = take(), seq_id = take(), over = take() == '1'}
      record.runs[r].seq = tonumber(record.runs[r].seq_id)
    end
    if not fenced and is_needed(state, record) then return {'conflict', 'needed', state.index} end
    if not fenced or admits(state, record) then
      for _, run in ipairs(record.runs) do
        if run.over and not end_of(state, run.id) then state.ends[run.id] = run.seq end
      end
      if record.kind == 'G' then
        state.base, state.top, state.gone, state.stored, state.ends = 0, 0, true, false, {}
        state.written, state.top_crc, frees = {}, nil, true
      elseif record.kind == 'B' then
        record.empties = state.top <= record.last
        state.base, state.gone = record.last, false
        if record.empties then state.top_crc = nil end
      else
        record.overlaps = record.first <= state.top
        if record.last >= state.top then state.top, state.top_crc = record.last, record.crc end
        state.written[#state.written + 1] = record
      end
      todo[#todo + 1] = record
    elseif refused then
      return refused
    end
  end
end

-- A log whose entries are not in order is written again; only a write without a lease needs this.
local function put_in_order(log, record)
  local all = redis.call('XRANGE', log, '-', '+')
  all[#all + 1] = {record.last_id .. '-0', {'f', record.first_id, 'e', record.epoch, 'c', record.crc,
    'b', record.body}}
  for n = #all - 1, 1, -1 do if all[n][1] == all[#all][1] then table.remove(all, n) end end
  table.sort(all, function(one, other)
    return tonumber(string.match(one[1], '^%d+')) < tonumber(string.match(other[1], '^%d+'))
  end)
  redis.call('DEL', log)
  for _, entry in ipairs(all) do redis.call('XADD', log, entry[1], unpack(entry[2])) end
end

local function put(record)
  local state = record.state
  local base, log, ends = KEYS[state.key], KEYS[state.key + 1], KEYS[state.key + 2]
  if record.kind == 'G' then
    redis.call('DEL', base, log, ends)
    redis.call('HSET', base, 'gone', record.body, 'crc', record.crc)
  elseif record.kind == 'B' then
    redis.call('HDEL', base, 'gone')
    redis.call('HSET', base, 'seq', record.last_id, 'crc', record.crc, 'body', record.body)
    if record.empties then
      redis.call('DEL', log)
    else
      redis.call('XTRIM', log, 'MINID', whole(record.last + 1))
    end
  else
    if record.overlaps then
      for _, entry in ipairs(redis.call('XRANGE', log, record.first_id .. '-0', record.last_id .. '-0')) do
        if first_of(entry) >= record.first then redis.call('XDEL', log, entry[1]) end
      end
    end
    local epoch = needs_others(record.body) and '' or record.epoch
    local added = redis.pcall('XADD', log, record.last_id .. '-0', 'f', record.first_id, 'e', epoch,
      'c', record.crc, 'b', record.body)
    if type(added) == 'table' then put_in_order(log, record) end
  end
  for _, run in ipairs(record.runs) do
    if run.over then redis.call('HSETNX', ends, run.id, run.seq_id) end
  end
  if state.new then
    state.new = false
    redis.call('ZADD', sessions, 'NX', redis.call('ZCARD', sessions), names[state.index])
  end
end

if frees then pass_when_full(head) end
local number = redis.call('HINCRBY', head, 'writes', 1)
if fenced then
  redis.call('HSET', head, 'expires', whole(now + last.lease))
  for _, id in ipairs(abandoned) do redis.call('ZADD', writes, 'NX', number, '-' .. id) end
  redis.call('ZADD', writes, number, '+' .. write_id)
  if number % 64 == 0 then redis.call('ZREMRANGEBYRANK', writes, 0, -(MAX_WRITE_IDS + 1)) end
elseif last and last.lease ~= 0 then
  put_claim(head, tokens, write_id, 0, 0, '')
end
for _, record in ipairs(todo) do put(record) end
for _, one in ipairs(new_acks) do
  if redis.call('HSETNX', acks, one[1], one[2]) == 1 then redis.call('RPUSH', ack_order, one[1]) end
end
if #new_acks > 0 then
  for _ = 1, redis.call('LLEN', ack_order) - MAX_ACKNOWLEDGED do
    redis.call('HDEL', acks, redis.call('LPOP', ack_order))
  end
end
return {'ok', repeats}
"""

_READ: Final = """
-- KEYS: base and log of each session.
local found = {}
for n = 1, #KEYS, 2 do
  local base = redis.call('HMGET', KEYS[n], 'seq', 'crc', 'body', 'gone')
  found[#found + 1] = {base, redis.call('XRANGE', KEYS[n + 1], '-', '+')}
end
return found
"""

_ANNOUNCE: Final = """
-- KEYS: replicas, secret. ARGV: clock, the address of a replica, milliseconds for which it is announced, and
-- the secret if there is not one yet. Returns the secret.
local now = clock(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[3])), ARGV[2])
redis.call('SET', KEYS[2], ARGV[4], 'NX')
return redis.call('GET', KEYS[2])
"""

_ANNOUNCED: Final = """
-- KEYS: replicas. ARGV: clock. Returns the addresses that are announced.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(clock(ARGV[1])))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""

_ACKNOWLEDGED: Final = """
-- KEYS: acks, ack_order.
local ids = redis.call('LRANGE', KEYS[2], 0, -1)
local bodies = {}
for n, id in ipairs(ids) do bodies[n] = redis.call('HGET', KEYS[1], id) end
return {ids, bodies}
"""


class Script(Struct, frozen=True):
    """A script, and the name under which a server caches it."""

    text: str
    sha: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    for name, value in {
        "LAYOUT": LAYOUT,
        "CLOCK_MS": int(CLOCK_S * 1000),
        "MAX_TOKENS": MAX_TOKENS,
        "MAX_WRITE_IDS": MAX_WRITE_IDS,
        "MAX_ACKNOWLEDGED": MAX_ACKNOWLEDGED,
    }.items():
        text = text.replace(name, str(value))
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


CLAIM: Final = _script(_COMMON, _CLAIM)
RENEW: Final = _script(_COMMON, _RENEW)
RELEASE: Final = _script(_COMMON, _RELEASE)
WRITE: Final = _script(_COMMON, _WRITE)
READ: Final = _script(_READ)
ACKNOWLEDGED: Final = _script(_ACKNOWLEDGED)
ANNOUNCE: Final = _script(_COMMON, _ANNOUNCE)
ANNOUNCED: Final = _script(_COMMON, _ANNOUNCED)
