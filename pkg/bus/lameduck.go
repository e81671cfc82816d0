package bus

import (
	"time"

	"github.com/nats-io/nats.go"
)

// leave leaves a broker node that says it shuts down (lame duck), before the node cuts the connection.
// It does so between two pulls: what is on its way on a connection that is cut is given to nobody
// else for a whole AckWait.
func (b *Bus) leaveLameDuck(nc *nats.Conn) {
	b.pulls.Lock()
	defer b.pulls.Unlock()
	_ = nc.FlushTimeout(time.Second) // acks on their way; a lost one is borne
	_ = nc.ForceReconnect()          // not connected: it is looking for another already
}
