package siptx

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	maxMessage  = 64 << 10 // head and body; a longer message is refused, over TCP with the connection
	maxDatagram = 65507    // what UDP over IPv4 can carry
	maxHead     = 32 << 10 // start line and header fields
	maxFields   = 256      // header field lines

	magicCookie = "z9hG4bK" // RFC 3261 §8.1.1.7
)

// A flow is the way to a peer: our socket and his address, or a connection.
type flow struct {
	socket *socket // UDP
	conn   *conn   // TCP, TLS
	remote netip.AddrPort
	key    connKey        // of the connection that is still to be had
	over   netip.AddrPort // the far end of one that will do as well
	// timeout is how long opening it may take; 0 = openTimeout.
	timeout time.Duration
}

func (f flow) network() string {
	if f.conn != nil {
		return f.conn.key.network
	}
	return "udp"
}

func (f flow) local() netip.AddrPort {
	if f.conn != nil {
		return f.conn.localAddr()
	}
	return f.socket.local
}

// defaultPort is that of a SIP URI or sent-by that names none (RFC 3261 §19.1.2).
func defaultPort(network string) uint16 {
	if network == "tls" {
		return 5061
	}
	return 5060
}

// transmit sends raw, which must not change afterwards: a connection queues it.
func (l *Layer) transmit(f flow, raw []byte, again bool) error {
	if l.o.Trace != nil {
		l.o.Trace(Traced{Out: true, Retransmission: again, Network: f.network(),
			Local: f.local(), Remote: f.remote, Raw: raw, At: time.Now()})
	}
	if again {
		l.count.sentAgain.Add(1)
	}
	var err error
	if f.conn != nil {
		err = f.conn.send(raw)
	} else {
		err = f.socket.send(raw, f.remote)
	}
	if err != nil {
		l.count.sendFailures.Add(1)
		return fmt.Errorf("%w: %w", ErrTransport, err)
	}
	return nil
}

// route finds the way to a target, and the address that Via is to name.
func (l *Layer) route(to Target) (f flow, sentBy netip.AddrPort, err error) {
	addr := unmap(to.Addr)
	if !addr.IsValid() || addr.Port() == 0 {
		return flow{}, netip.AddrPort{}, fmt.Errorf("%w: target without address or port", ErrTransport)
	}
	switch to.Network {
	case "udp":
		s := l.socketFor(addr.Addr())
		if s == nil {
			return flow{}, netip.AddrPort{}, fmt.Errorf("%w: no UDP socket of the target's address family", ErrTransport)
		}
		return flow{socket: s, remote: addr}, l.advertised(s.local), nil
	case "tcp", "tls":
		sentBy, ok := l.sentBy(to.Network, addr.Addr())
		if !ok {
			return flow{}, netip.AddrPort{}, fmt.Errorf("%w: not listening on %s", ErrTransport, to.Network)
		}
		key := connKey{network: to.Network, remote: addr}
		if to.Network == "tls" {
			key.name = to.Name
		}
		return flow{remote: addr, key: key, over: unmap(to.Over)}, sentBy, nil
	}
	return flow{}, netip.AddrPort{}, fmt.Errorf("%w: network %q is none of udp, tcp and tls", ErrTransport, to.Network)
}

// sentBy is what Via names for a connection. Where nothing can connect to us by TCP
// it is what there is; TLS is refused then, as requests that come back would not be
// secret.
func (l *Layer) sentBy(network string, target netip.Addr) (netip.AddrPort, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.bound(network, target)
	if !ok && network == "tcp" {
		at, ok = l.bound("udp", target)
	}
	return l.advertised(at), ok
}

// bound is the address of the first socket of a network and of the target's address
// family. The caller holds l.mu.
func (l *Layer) bound(network string, target netip.Addr) (netip.AddrPort, bool) {
	if network == "udp" {
		for _, s := range l.sockets {
			if s.local.Addr().Is4() == target.Is4() {
				return s.local, true
			}
		}
	}
	for _, t := range l.tcps {
		if t.network == network && t.local.Addr().Is4() == target.Is4() {
			return t.local, true
		}
	}
	return netip.AddrPort{}, false
}

// connect completes a flow to a TCP or TLS target: it takes the connection there is,
// or starts dialling. It does not wait.
func (l *Layer) connect(f flow) (flow, error) {
	if f.socket != nil || f.conn != nil {
		return f, nil
	}
	c, err := l.connTo(f)
	if err != nil {
		return flow{}, err
	}
	return flow{conn: c, remote: c.key.remote}, nil
}

// pushVia makes our Via the only one of req: a user agent's request has no other
// (RFC 3261 §8.1.1.7), and one left from an earlier sending would come back in the
// response.
func pushVia(req *sip.Request, network string, sentBy netip.AddrPort) {
	for req.RemoveHeader("Via") {
	}
	req.PrependHeader(&sip.ViaHeader{
		ProtocolName:    "SIP",
		ProtocolVersion: "2.0",
		Transport:       strings.ToUpper(network),
		Host:            sentBy.Addr().String(),
		Port:            int(sentBy.Port()),
		Params:          sip.HeaderParams{{K: "branch", V: newBranch()}, {K: "rport"}},
	})
}

func newBranch() string { return magicCookie + rand.Text() }

type outgoing interface {
	sip.Message
	Headers() []sip.Header
}

// render returns the bytes of m, with a Content-Length that is right, and has them
// checked. It refuses a message whose values would break out of their lines.
func (l *Layer) render(m outgoing, limit int) ([]byte, error) {
	if n := m.ContentLength(); n == nil || int(*n) != len(m.Body()) {
		m.SetBody(m.Body())
	}
	buf, _ := l.spare.Get().(*bytes.Buffer)
	if buf == nil {
		buf = new(bytes.Buffer)
	}
	defer l.spare.Put(buf)
	buf.Reset()
	m.StringWrite(buf)
	raw := bytes.Clone(buf.Bytes())

	if len(raw) > limit {
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, len(raw), limit)
	}
	head, lines := raw[:len(raw)-len(m.Body())], len(m.Headers())+2
	if bytes.Count(head, []byte{'\n'}) != lines || bytes.Count(head, []byte{'\r'}) != lines {
		return nil, fmt.Errorf("%w: a value holds a line break", ErrMalformed)
	}
	callID := ""
	if id := m.CallID(); id != nil {
		callID = string(*id)
	}
	return raw, l.check(callID, raw)
}

func (l *Layer) check(callID string, raw []byte) error {
	if l.o.Check == nil {
		return nil
	}
	if err := l.o.Check(callID, raw); err != nil {
		l.count.blocked.Add(1)
		return fmt.Errorf("%w: %w", ErrBlocked, err)
	}
	return nil
}

func (l *Layer) limit(network string) int {
	if network == "udp" {
		return maxDatagram
	}
	return maxMessage
}
