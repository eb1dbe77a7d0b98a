package locate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks recursive DNS servers. It keeps nothing between two questions.
type Resolver struct {
	servers func() []netip.AddrPort
	// timeout is how long one server may take over one question.
	timeout time.Duration
}

// How servers are asked, which is much as resolv.conf(5) has it.
const (
	answerTimeout = 3 * time.Second
	rounds        = 2 // over all servers
	maxServers    = 3
	dnsPort       = 53
)

// NewResolver asks the given servers in their order; with none, those of the system
// (resolv.conf(5)), read again for each question.
func NewResolver(servers []netip.AddrPort) *Resolver {
	of := func() []netip.AddrPort { return servers }
	if len(servers) == 0 {
		of = func() []netip.AddrPort { return systemServers("/etc/resolv.conf") }
	}
	return &Resolver{servers: of, timeout: answerTimeout}
}

// systemServers are the name servers of a file as resolv.conf(5) describes it; this
// host if it names none.
func systemServers(path string) []netip.AddrPort {
	var list []netip.AddrPort
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		if c, err := dns.ClientConfigFromReader(f); err == nil {
			for _, text := range c.Servers {
				if a, err := netip.ParseAddr(text); err == nil {
					list = append(list, netip.AddrPortFrom(a, dnsPort))
				}
			}
		}
	}
	if len(list) == 0 {
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	return list[:min(len(list), maxServers)]
}

// ask gives the answer section for a question from the first server that has one.
// That there is nothing of the kind is an answer too, an empty one.
func (r *Resolver) ask(ctx context.Context, q dns.Question) ([]dns.RR, error) {
	var last error
	for range rounds {
		for _, server := range r.servers() {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			m, err := r.exchange(ctx, server, q)
			if err == nil {
				return m.Answer, nil
			}
			last = fmt.Errorf("%s of %s: %s: %w", dns.TypeToString[q.Qtype], strings.TrimSuffix(q.Name, "."), server, err)
		}
	}
	return nil, last
}

// What an answer may be that is none.
var (
	errNoAnswer = errors.New("no answer")
	errMismatch = errors.New("an answer to another question")
	errReferral = errors.New("the server refers to others: it does not resolve")
)

// exchange asks one server: over UDP, and over TCP what does not fit (RFC 7766 §5).
func (r *Resolver) exchange(ctx context.Context, server netip.AddrPort, q dns.Question) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		m, err := r.over(ctx, network, server, q)
		if err != nil {
			return nil, err
		}
		if m.Truncated && network == "udp" {
			continue
		}
		switch {
		case m.Rcode == dns.RcodeNameError:
			m.Answer = nil // aliases that lead to nothing (RFC 6604 §3)
			return m, nil
		case m.Rcode != dns.RcodeSuccess:
			return nil, errors.New(rcode(m.Rcode))
		case len(m.Answer) == 0 && !m.RecursionAvailable && !m.Authoritative:
			return nil, errReferral
		}
		return m, nil
	}
	return nil, errNoAnswer // not reached: TCP cuts nothing off
}

func rcode(code int) string {
	if text, ok := dns.RcodeToString[code]; ok {
		return text
	}
	return "an unknown RCODE"
}

// over asks once, from a port and with an id of chance (RFC 5452 §9.2), and waits
// for what answers it. Over UDP whatever else comes is passed over: anybody may
// send it.
func (r *Resolver) over(ctx context.Context, network string, server netip.AddrPort, q dns.Question) (*dns.Msg, error) {
	ask := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id(), RecursionDesired: true}, Question: []dns.Question{q}}
	raw, err := ask.Pack()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, short(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	framed := &dns.Conn{Conn: c}
	if _, err := framed.Write(raw); err != nil {
		return nil, short(err)
	}
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, err := framed.Read(buf)
		if err != nil {
			return nil, short(err)
		}
		if m, ok := answers(buf[:n], ask); ok {
			return m, nil
		}
		if network == "tcp" {
			return nil, errMismatch
		}
	}
}

// short is what an operator needs of an error of package net.
func short(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errNoAnswer
	}
	return err
}

// answers reads a message and reports whether it answers a question of ours: the id,
// and the question repeated (RFC 5452 §9.1). Names are compared without their case.
func answers(raw []byte, ask *dns.Msg) (*dns.Msg, bool) {
	m := &dns.Msg{}
	if err := m.Unpack(raw); err != nil && !m.Truncated {
		return nil, false
	}
	want := ask.Question[0]
	ok := m.Response && m.Opcode == dns.OpcodeQuery && m.Id == ask.Id && len(m.Question) == 1 &&
		m.Question[0].Qtype == want.Qtype && m.Question[0].Qclass == want.Qclass && strings.EqualFold(m.Question[0].Name, want.Name)
	return m, ok
}
