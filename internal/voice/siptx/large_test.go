package siptx

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// bothNetworks returns a layer on UDP and TCP that finds more than 1300 bytes large.
func bothNetworks(t testing.TB) (*Layer, netip.AddrPort) {
	t.Helper()
	l, _, _ := onTCP(t, func(o *Options) { o.MaxUDPRequest = 1300 })
	addr, err := l.Listen("udp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	return l, addr
}

// farBoth is a peer with one port of UDP and TCP; without tcp, nobody listens there.
func farBoth(t testing.TB, tcp bool) (Target, *net.UDPConn, func() *stream) {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := ln.Addr().(*net.TCPAddr).AddrPort()
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		if err != nil { // somebody else's
			_ = ln.Close()
			continue
		}
		t.Cleanup(func() { _ = udp.Close(); _ = ln.Close() })
		if !tcp {
			_ = ln.Close()
		}
		_ = udp.SetDeadline(time.Now().Add(patience))
		return Target{Network: "udp", Addr: at}, udp, func() *stream {
			_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
			c, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return newStream(t, c)
		}
	}
	t.Fatal("no port is free for both")
	return Target{}, nil, nil
}

func largeRequest(method sip.RequestMethod) *sip.Request {
	return request(method, sip.NewHeader("Subject", strings.Repeat("x", 1300)))
}

func datagram(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, maxMessage)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestTooLargeUDP(t *testing.T) {
	t.Run("a large request goes over TCP, with what belongs to it", func(t *testing.T) {
		l, udp := bothNetworks(t)
		to, plain, accept := farBoth(t, true)
		out := make(chan Outcome, 8)
		tx, err := l.Request(largeRequest(sip.INVITE), to, func(o Outcome) { out <- o })
		if err != nil {
			t.Fatal(err)
		}
		s := accept()
		invite := s.message()
		if via := field(invite, "Via"); !strings.HasPrefix(via, "SIP/2.0/TCP 127.0.0.1:") || strings.HasPrefix(via, "SIP/2.0/TCP "+udp.String()+";") {
			t.Error("Via", via)
		}
		s.send(reply(invite, 180, "x"))
		next(t, out)
		if err := tx.Cancel(); err != nil {
			t.Fatal(err)
		}
		if cancel := s.message(); startLine(cancel)[:6] != "CANCEL" || field(cancel, "Via") != field(invite, "Via") {
			t.Error(cancel)
		}
		s.send(reply(invite, 487, "x"))
		if ack := s.message(); startLine(ack)[:3] != "ACK" || field(ack, "Via") != field(invite, "Via") {
			t.Error(ack)
		}
		next(t, out)
		ack := request(sip.ACK, sip.NewHeader("Subject", strings.Repeat("x", 1300)))
		if err := l.Send(ack, to); err != nil {
			t.Fatal(err)
		}
		if got := s.message(); startLine(got)[:3] != "ACK" || !strings.Contains(got, "SIP/2.0/TCP") {
			t.Error(got)
		}
		small := make(chan Outcome, 1)
		if _, err := l.Request(request(sip.OPTIONS), to, func(o Outcome) { small <- o }); err != nil {
			t.Fatal(err)
		}
		if got := datagram(t, plain); startLine(got)[:7] != "OPTIONS" {
			t.Error("a small one does not go by UDP any more:", got)
		}
	})
	t.Run("a large request goes over UDP where TCP is refused", func(t *testing.T) {
		l, udp := bothNetworks(t)
		to, plain, _ := farBoth(t, false)
		out := make(chan Outcome, 8)
		tx, err := l.Request(largeRequest(sip.INVITE), to, func(o Outcome) { out <- o })
		if err != nil {
			t.Fatal(err)
		}
		invite := datagram(t, plain)
		if via := field(invite, "Via"); !strings.HasPrefix(via, "SIP/2.0/UDP "+udp.String()+";branch=") {
			t.Error("Via", via)
		}
		if again := datagram(t, plain); again != invite {
			t.Error("not sent again")
		}
		if _, err := plain.WriteToUDPAddrPort([]byte(reply(invite, 486, "x")), udp); err != nil {
			t.Fatal(err)
		}
		if o := next(t, out); o.Err != nil || o.Res.StatusCode != 486 {
			t.Fatalf("%+v", o)
		}
		for got := invite; startLine(got)[:3] != "ACK"; got = datagram(t, plain) { // one more INVITE may be under way
		}
		if via := tx.topVia(); via.Transport != "UDP" {
			t.Error(via)
		}
		if err := l.Send(request(sip.ACK, sip.NewHeader("Subject", strings.Repeat("x", 1300))), to); err != nil {
			t.Fatal(err)
		}
		if got := datagram(t, plain); startLine(got)[:3] != "ACK" {
			t.Error(got)
		}
	})
	t.Run("a connection that is lost later is no reason to send again", func(t *testing.T) {
		l, _ := bothNetworks(t)
		to, _, accept := farBoth(t, true)
		out := make(chan Outcome, 8)
		if _, err := l.Request(largeRequest(sip.OPTIONS), to, func(o Outcome) { out <- o }); err != nil {
			t.Fatal(err)
		}
		s := accept()
		s.message()
		_ = s.Close()
		if o := next(t, out); o.Err == nil {
			t.Fatalf("%+v", o)
		}
	})
}
