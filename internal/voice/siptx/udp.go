package siptx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A packetConn is what a socket needs of net.UDPConn.
type packetConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// A socket is one UDP port of ours, read by one goroutine.
type socket struct {
	l     *Layer
	pc    packetConn
	local netip.AddrPort
}

// udpBuffer is asked of the kernel for each direction: half a second of a burst
// of 2000 calls a second. The kernel may give less.
const udpBuffer = 4 << 20

func (l *Layer) listenUDP(addr netip.AddrPort) (netip.AddrPort, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	pc, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("siptx: listen: %w", err)
	}
	_ = pc.SetReadBuffer(udpBuffer)  // best effort: a small buffer works too
	_ = pc.SetWriteBuffer(udpBuffer) // likewise
	local := unmap(pc.LocalAddr().(*net.UDPAddr).AddrPort())
	return local, l.serve(pc, local)
}

// serve starts reading pc, which it owns from now on.
func (l *Layer) serve(pc packetConn, local netip.AddrPort) error {
	s := &socket{l: l, pc: pc, local: local}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errors.Join(ErrClosed, pc.Close())
	}
	l.sockets = append(l.sockets, s)
	l.wg.Add(1)
	l.mu.Unlock()
	go s.read()
	return nil
}

func (l *Layer) socketFor(target netip.Addr) *socket {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sockets {
		if s.local.Addr().Is4() == target.Is4() {
			return s
		}
	}
	return nil
}

func (s *socket) send(raw []byte, to netip.AddrPort) error {
	_, err := s.pc.WriteToUDPAddrPort(raw, to)
	return err
}

func (s *socket) read() {
	defer s.l.wg.Done()
	buf := make([]byte, maxMessage)
	for {
		n, from, err := s.pc.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// An ICMP error that the kernel reports here is no reason to stop; a
			// socket that only fails must not spin.
			s.l.log.Warn("sip: reading a UDP socket failed", "local", s.local, "error", err)
			if !s.l.pause(50 * time.Millisecond) {
				return
			}
			continue
		}
		from = unmap(from)
		if s.l.o.Accept != nil && !s.l.o.Accept(from.Addr()) {
			s.l.count.droppedSource.Add(1)
			continue
		}
		s.l.receive(buf[:n], flow{socket: s, remote: from})
	}
}

// pause waits, and reports false if the layer is closing.
func (l *Layer) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.stopping:
		return false
	}
}
