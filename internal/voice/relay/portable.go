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

func (portable) start(s *Session) (stop func(), err error) {
	var wg sync.WaitGroup
	for _, side := range []Side{A, B} {
		wg.Go(func() { s.forward(side) })
		wg.Go(func() { s.control(side) })
	}
	return func() {
		for i := range s.ends {
			s.ends[i].close()
		}
		wg.Wait()
	}, nil
}

func (portable) close() {}

// forward moves the RTP that one side sends, until its socket closes.
func (s *Session) forward(side Side) {
	in, out := s.ends[side].rtp.(udpSocket), &s.ends[side.Other()]
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
		packet, to := s.rewrite(side, buf[:n], from, s.engine.elapsed())
		if packet != nil {
			out.sent(packet, out.rtp.send(packet, to))
		}
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
