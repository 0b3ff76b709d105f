-- The traffic of an application with writes, for wrk: 70 % reads of 10,000
-- resources by popularity (Zipf, exponent 1), 20 % reads of what nobody asked
-- for before, 10 % POST over 1,000 of the resources. Every connection mixes all.
local RESOURCES, WRITTEN = 10000, 1000

local cumulated, sum = {}, 0
for rank = 1, RESOURCES do
  sum = sum + 1 / rank
  cumulated[rank] = sum
end

local function popular()
  local wanted = math.random() * sum
  local low, high = 1, RESOURCES
  while low < high do
    local middle = math.floor((low + high) / 2)
    if cumulated[middle] < wanted then low = middle + 1 else high = middle end
  end
  return low
end

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local asked = 0
function init()
  math.randomseed(os.time() * 100 + number)
end

function request()
  local kind = math.random(100)
  if kind <= 70 then
    return wrk.format("GET", "/1k/mixed-" .. popular())
  elseif kind <= 90 then
    asked = asked + 1
    return wrk.format("GET", "/1k/new-" .. os.time() .. "-" .. number .. "-" .. asked)
  end
  return wrk.format("POST", "/1k/mixed-" .. math.random(WRITTEN), { ["Content-Length"] = "0" })
end
