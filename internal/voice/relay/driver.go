package relay

import "net/netip"

// A driver opens sockets and moves what arrives at them.
type driver interface {
	// listen binds a socket. The error is a syscall.Errno inside, for othersPort.
	listen(at netip.AddrPort) (socket, error)
	// start begins to read the sockets of a session. stop, called once, ends
	// that: when it returns the sockets are closed and nothing touches the
	// session any more.
	start(s *Session) (stop func(), err error)
	// close waits for every goroutine of the driver. Every session has stopped.
	close()
}

// A socket is one UDP port. Only its driver reads it.
type socket interface {
	port() uint16
	send(b []byte, to *destination) error // from any goroutine; never waits long
	close()
}

// A destination is where packets go, in the form of net and, built once, in
// that of the system.
type destination struct {
	netip.AddrPort
	raw rawAddr
}

func newDestination(to netip.AddrPort) *destination {
	return &destination{AddrPort: to, raw: newRawAddr(to)}
}
