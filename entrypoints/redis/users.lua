-- Turns a request for a user of a head into lines for redis-cli, which answer it as well; none: it is ignored.
-- Run by users.sh, since a script cannot run ACL commands itself. Only what is checked here gets into a line.
-- ARGV: namespace, request (JSON, of coordination/lease.py), number of rights, rights, users that there are.
local namespace, count = ARGV[1], tonumber(ARGV[3])
local prefix = 'cslr:' .. namespace .. ':'
local decoded, request = pcall(cjson.decode, ARGV[2])
if not decoded or type(request) ~= 'table' then return {} end

local function field(name, pattern)
    local value = request[name]
    return type(value) == 'string' and string.match(value, pattern) and value or nil
end
local epoch, incarnation = field('epoch', '^%d+$'), field('incarnation', '^%x+$')
local answer, sent = field('answer', '^%x+$'), tonumber(request.time)
if not (epoch and incarnation and answer and sent) then return {} end
-- The requester has given up by then, and asks again.
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - sent > 3000 then return {} end

-- In one transaction: no answer without the deed.
local function tell(text, deed)
    local key = prefix .. 'answer:' .. answer
    return {'MULTI', deed or 'PING', 'LPUSH ' .. key .. ' "' .. text .. '"', 'PEXPIRE ' .. key .. ' 5000', 'EXEC'}
end

if request.wish == 'make' then
    local held = redis.call('HMGET', prefix .. 'lease', 'host', 'instance', 'epoch', 'incarnation')
    if held[1] ~= request.host or held[2] ~= request.instance or held[3] ~= epoch or held[4] ~= incarnation then
        return tell('the lease is not held any more')
    end
    local suffix, digest = field('suffix', '^%x+$'), field('digest', '^%x+$')
    if not suffix or #suffix ~= 16 or not digest or #digest ~= 64 then return tell('malformed') end
    local user = 'ray-' .. namespace .. '-' .. epoch .. '-' .. incarnation .. suffix
    local words = {'ACL SETUSER', user, 'reset on', '#' .. digest, 'resetchannels',
        '"~RAY' .. namespace .. '-' .. incarnation .. '@*"'}
    for index = 4, 3 + count do table.insert(words, '"' .. ARGV[index] .. '"') end
    return tell('done', table.concat(words, ' '))
end

if request.wish == 'fence' then
    -- Of a grant that was there in this life of the data: another one has no say over the heads of today.
    local newest = tonumber(redis.call('GET', prefix .. 'epoch') or '0')
    if tonumber(epoch) > newest or redis.call('GET', prefix .. 'incarnation') ~= incarnation then
        return tell('no such grant')
    end
    local old, start = {}, 'ray-' .. namespace .. '-'
    for index = 4 + count, #ARGV do
        local user = ARGV[index]
        if user ~= request.keep and string.sub(user, 1, #start) == start then
            local number, hex = string.match(string.sub(user, #start + 1), '^(%d+)%-(%x+)$')
            -- Users outlive data that is lost while Redis runs; epochs may then start again.
            local lost = hex and #hex == 32 and string.sub(hex, 1, 16) ~= incarnation
            if lost or (hex and #hex == 32 and tonumber(number) <= tonumber(epoch)) then table.insert(old, user) end
        end
    end
    -- Ends their connections, too.
    return tell('done', #old > 0 and 'ACL DELUSER ' .. table.concat(old, ' ') or nil)
end
return tell('malformed')
