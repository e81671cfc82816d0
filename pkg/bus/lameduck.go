package bus

import (
	"time"

	"github.com/nats-io/nats.go"
)

// leaveLameDuck reconnects to another broker node when this one announces its shutdown (lame duck mode), before the node
// closes the connection. It waits for the pull under way: messages that are lost with a closed connection are not
// redelivered for a whole AckWait.
func (b *Bus) leaveLameDuck(nc *nats.Conn) {
	b.pulls.Lock()
	defer b.pulls.Unlock()
	_ = nc.FlushTimeout(time.Second) // sends pending acks; a lost one only costs a redelivery
	_ = nc.ForceReconnect()          // it fails if the client is reconnecting already
}
