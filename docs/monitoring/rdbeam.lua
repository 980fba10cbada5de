-- SPDX-License-Identifier: BSD-3-Clause
-- For redis_exporter's option --script: returns INFO rdbeam as pairs of name and number. On its own,
-- the exporter exports only the INFO fields that it knows by name.
local states = {idle = 0, copying = 1, flushing = 2, ready = 3, failed = 4}
local daemons = {down = 0, starting = 1, up = 2}
local found = {}

local function add(name, value)
	found[#found + 1] = name
	found[#found + 1] = tostring(value)
end

for line in string.gmatch(redis.call('INFO', 'rdbeam'), '[^\r\n]+') do
	local name, value = string.match(line, '^(rdbeam_[%w_]+):(.*)$')
	if name == 'rdbeam_state' then
		add(name, states[value] or -1)
	elseif name == 'rdbeam_daemon_state' then
		add(name, daemons[value] or -1)
	elseif name and string.match(value, '^%d+$') then
		add(name, value)
	end
end
return found
