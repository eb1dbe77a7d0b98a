package relay

import "net/netip"

// A driver opens sockets and moves what arrives at them.
type driver interface {
	// listen binds a socket. The error is a syscall.Errno inside, for othersPort.
	listen(at netip.AddrPort) (socket, error)
	// start begins to read the sockets of a session.
	start(s *Session) (reader, error)
	// close waits for every goroutine of the driver. Every session has stopped.
	close()
}

// A reader reads the sockets of one session. One of its methods runs at a time.
type reader interface {
	// reseat puts fresh in the place of a side's sockets, by Session.part and
	// Session.renew, and closes the old ones. On an error nothing has changed.
	reseat(side Side, fresh *pair) error
	// stop, called once and last, ends the reading: when it returns the sockets
	// are closed and nothing touches the session any more.
	stop()
}

// A socket is one UDP port. Only its driver reads it.
type socket interface {
	port() uint16
	send(b []byte, to *destination) error // from any goroutine; never waits long
	drain()                               // throws away what has come; nobody reads it yet
	close()
}

// A destination is the socket that packets leave by and where they go, in the
// form of net and, built once, in that of the system.
type destination struct {
	netip.AddrPort
	raw rawAddr
	via socket
}

func newDestination(via socket, to netip.AddrPort) *destination {
	return &destination{AddrPort: to, raw: newRawAddr(to), via: via}
}

func (d *destination) send(b []byte) error { return d.via.send(b, d) }
