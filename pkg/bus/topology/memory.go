package topology

// The memory of a broker node, as `tieback bench --stored` measures it: what it needs without messages, and for each message that it
// keeps, after a restart. Each message has a subject of its own, which the broker keeps in memory; the payload does not count.
const (
	baseMemory    = 96 << 20
	messageMemory = 210
)

// BrokerMemory estimates the memory in bytes that a broker node needs for a number of messages in all streams.
func BrokerMemory(messages uint64) uint64 { return baseMemory + messages*messageMemory }
