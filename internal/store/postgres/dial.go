package postgres

import (
	"net"
	"time"
)

// silentFor is for how long a server may say nothing at all, not even that it has got what
// was sent to it, before its connections are broken. A host that loses its power says no
// goodbye, and without this whoever waits for its answer waits for a quarter of an hour.
const silentFor = 10 * time.Second

// dialer connects to a server, within a time. Its system asks a server that is silent
// whether it is there, and gives it up.
func dialer(within time.Duration) *net.Dialer {
	const tries = 5
	return &net.Dialer{Timeout: within, Control: giveUp,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silentFor / 2, Interval: silentFor / 2 / tries, Count: tries}}
}
