// Package names is a DNS server for tests: on a free port of loopback, over UDP and
// TCP, with a zone that may be changed while it runs. It answers as a recursive
// server does.
package names

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server is a DNS server.
type Server struct {
	t    testing.TB
	addr netip.AddrPort

	mu    sync.Mutex
	zone  []dns.RR
	odd   func(dns.ResponseWriter, *dns.Msg) bool
	asked chan struct{} // closed and made anew at each question
	count int
}

// New starts a server with an empty zone. It is stopped at the end of the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, asked: make(chan struct{})}
	packets, listener := listen(t)
	s.addr = netip.MustParseAddrPort(packets.LocalAddr().String())
	var served sync.WaitGroup
	servers := []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: listener, Handler: s}}
	for _, d := range servers {
		up := make(chan struct{})
		d.NotifyStartedFunc = func() { close(up) }
		served.Go(func() {
			if err := d.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		})
		<-up
	}
	t.Cleanup(func() {
		for _, d := range servers {
			if err := d.Shutdown(); err != nil {
				t.Error(err)
			}
		}
		served.Wait()
	})
	return s
}

// listen takes one port of both transports.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, listener
		}
		_ = packets.Close() // somebody else has the port of TCP
	}
	t.Fatal("no port that is free for both UDP and TCP")
	return nil, nil
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Set replaces the zone by records as a zone file has them, names with or without
// the last dot.
func (s *Server) Set(lines ...string) {
	s.t.Helper()
	var zone []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			s.t.Fatalf("record %q: %v", line, err)
		}
		zone = append(zone, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = zone
}

// Odd has f answer instead, as long as it says that it did; nil = nobody.
func (s *Server) Odd(f func(w dns.ResponseWriter, ask *dns.Msg) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd = f
}

// Fail has every question answered with an RCODE.
func (s *Server) Fail(rcode int) {
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(ask, rcode)) // who does not wait gets none
		return true
	})
}

// Asked is how many questions came.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Again is closed at the next question.
func (s *Server) Again() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// ServeDNS answers (dns.Handler).
func (s *Server) ServeDNS(w dns.ResponseWriter, ask *dns.Msg) {
	s.mu.Lock()
	zone, odd := s.zone, s.odd
	s.count++
	close(s.asked)
	s.asked = make(chan struct{})
	s.mu.Unlock()
	if odd != nil && odd(w, ask) {
		return
	}
	_ = w.WriteMsg(Answer(zone, ask, w.RemoteAddr().Network())) // who does not wait gets none
}

// Answer is what a recursive server that knows a zone says over a network: with the
// aliases followed, and cut off where it does not fit into UDP.
func Answer(zone []dns.RR, ask *dns.Msg, network string) *dns.Msg {
	m := new(dns.Msg).SetReply(ask)
	m.RecursionAvailable, m.Compress = true, true
	name, exists := ask.Question[0].Name, false
	for range 16 {
		alias := ""
		for _, rr := range zone {
			h := rr.Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			exists = true
			c, isAlias := rr.(*dns.CNAME)
			if isAlias {
				alias = c.Target
			}
			if isAlias || h.Rrtype == ask.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if alias == "" {
			break
		}
		name, exists = alias, false
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	if network == "udp" && m.Len() > dns.MinMsgSize {
		m.Truncated, m.Answer = true, nil
	}
	return m
}
