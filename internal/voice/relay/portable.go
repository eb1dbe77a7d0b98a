package relay

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxFaults is how many reads of a socket may fail in a row before it is given
// up: going on would only burn the system's time.
const maxFaults = 1000

// portable is the driver that runs wherever Go runs: a goroutine a socket.
type portable struct{}

// udpSocket is a socket of the portable driver.
type udpSocket struct{ *net.UDPConn }

func (c udpSocket) port() uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

func (c udpSocket) send(b []byte, to *destination) error {
	_, err := c.WriteToUDPAddrPort(b, to.AddrPort)
	return err
}

func (c udpSocket) drain() {
	// A deadline that has passed would keep even what is there from being read.
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // fails only once closed: so does the read
	buf := make([]byte, 1)
	for range mostDrained {
		if _, _, err := c.ReadFromUDPAddrPort(buf); err != nil {
			break
		}
	}
	_ = c.SetReadDeadline(time.Time{})
}

func (c udpSocket) close() { _ = c.Close() } // fails only when closed before

func (portable) listen(at netip.AddrPort) (socket, error) {
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	return udpSocket{conn}, nil
}

// goroutines are what reads one session.
type goroutines struct {
	s  *Session
	of [2]sync.WaitGroup // by Side
}

func (portable) start(s *Session) (reader, error) {
	r := &goroutines{s: s}
	r.read(A)
	r.read(B)
	return r, nil
}

func (r *goroutines) read(side Side) {
	r.of[side].Go(func() { r.s.forward(side) })
	r.of[side].Go(func() { r.s.control(side) })
}

func (r *goroutines) reseat(side Side, fresh *pair) error {
	r.s.part(side)
	r.s.ends[side].close()
	r.of[side].Wait()
	r.s.renew(side, fresh)
	r.read(side)
	return nil
}

func (r *goroutines) stop() {
	for i := range r.s.ends {
		r.s.ends[i].close()
	}
	r.of[A].Wait()
	r.of[B].Wait()
}

func (portable) close() {}

// forward moves the RTP that one side sends, until its socket closes.
func (s *Session) forward(side Side) {
	in := s.ends[side].rtp.(udpSocket)
	buf := make([]byte, maxPacket+1)
	faults := 0
	for {
		n, from, err := in.ReadFromUDPAddrPort(buf)
		if err != nil {
			if faults++; s.givenUp(side, err, faults) {
				return
			}
			continue
		}
		faults = 0
		s.pass(side, buf[:n], from, s.engine.Elapsed())
	}
}

// control reads one side's RTCP and sends our reports to it, until its socket
// closes.
func (s *Session) control(side Side) {
	conn := s.ends[side].rtcp.(udpSocket)
	interval := s.engine.reports
	arm := func(mean time.Duration) {
		_ = conn.SetReadDeadline(time.Now().Add(reportDelay(mean))) // fails only once closed: so does the read
	}
	arm(interval / 2)
	buf := make([]byte, maxPacket+1)
	faults := 0
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			faults = 0
			s.heard(side, buf[:n], from)
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.sendReport(side, false)
			arm(interval)
		default:
			if faults++; s.givenUp(side, err, faults) {
				return
			}
		}
	}
}

// givenUp reports whether a read error ends a goroutine: the socket is closed,
// or a fault of the system lasts.
func (s *Session) givenUp(side Side, err error, faults int) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	if faults < maxFaults {
		return false
	}
	s.socketFailed(side, err)
	return true
}
