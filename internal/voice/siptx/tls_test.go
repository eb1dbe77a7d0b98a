package siptx

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/testkit/ca"
)

// shows gives a layer credentials.
func shows(c *Credentials) func(*Options) {
	return func(o *Options) { o.Credentials = func() *Credentials { return c } }
}

// onTLS returns a layer that listens on loopback TLS with the credentials.
func onTLS(t testing.TB, c *Credentials, edit ...func(*Options)) (*Layer, *tu, netip.AddrPort) {
	t.Helper()
	l, u, _ := onTCP(t, append(edit, shows(c))...)
	addr, err := l.Listen("tls", loopback)
	if err != nil {
		t.Fatal(err)
	}
	return l, u, addr
}

func dialTLS(t testing.TB, addr netip.AddrPort, cfg *tls.Config) *stream {
	t.Helper()
	c, err := tls.Dial("tcp", addr.String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newStream(t, c)
}

func tlsRequest(method, branch string) string {
	return strings.Replace(incoming(method, branch), "SIP/2.0/UDP", "SIP/2.0/TLS", 1)
}

func TestACallGoesOverOneTLSConnectionBothWays(t *testing.T) {
	authority := ca.New(t)
	caller, fromFar, at := onTLS(t, &Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()})
	callee, called, to := onTLS(t, &Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()})
	out := make(chan Outcome, 8)
	tx, err := caller.Request(request(sip.INVITE), Target{Network: "tls", Addr: to}, func(o Outcome) { out <- o })
	if err != nil {
		t.Fatal(err)
	}
	if via := tx.Request().Via(); via.Transport != "TLS" || via.Port != int(at.Port()) {
		t.Fatal(via)
	}
	invite := next(t, called.requests)
	if invite.Network() != "tls" {
		t.Fatal(invite.Network())
	}
	respond(t, invite, 200, "t")
	if o := next(t, out); o.Err != nil || o.Res.StatusCode != 200 {
		t.Fatalf("%+v", o)
	}
	back := Target{Network: "tls", Addr: at, Over: invite.Source()}
	if _, err := callee.Request(request(sip.BYE), back, func(o Outcome) { out <- o }); err != nil {
		t.Fatal(err)
	}
	respond(t, next(t, fromFar.requests), 200, "t")
	if o := next(t, out); o.Err != nil || o.Res.StatusCode != 200 {
		t.Fatalf("%+v", o)
	}
	if a, b := caller.Stats().Conns, callee.Stats().Conns; a != 1 || b != 1 {
		t.Fatalf("%d and %d connections", a, b)
	}
}

func TestAServerWhoseCertificateIsNotItsOwnGetsNoRequest(t *testing.T) {
	authority := ca.New(t)
	for name, c := range map[string]struct {
		shown tls.Certificate
		name  string
		ok    bool
	}{
		"the address":                    {authority.Issue("127.0.0.1"), "", true},
		"another address":                {authority.Issue("127.0.0.2"), "", false},
		"a name where the address must":  {authority.Issue("sip.example.net"), "", false},
		"the name":                       {authority.Issue("sip.example.net"), "sip.example.net", true},
		"the name as a wildcard":         {authority.Issue("*.example.net"), "sip.example.net", true},
		"the domain as a SIP URI":        {authority.Issue("sip:example.net"), "example.net", true},
		"a SIP URI of a person":          {authority.Issue("sip:alice@example.net"), "example.net", false},
		"another name":                   {authority.Issue("sip.example.org"), "sip.example.net", false},
		"the address where a name must":  {authority.Issue("127.0.0.1"), "sip.example.net", false},
		"the name, by nobody we believe": {ca.New(t).Issue("sip.example.net"), "sip.example.net", false},
	} {
		_, called, to := onTLS(t, &Credentials{Certificate: c.shown, Authorities: authority.Pool()})
		caller, _, _ := onTLS(t, &Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()})
		out := make(chan Outcome, 2)
		_, err := caller.Request(request(sip.OPTIONS), Target{Network: "tls", Addr: to, Name: c.name}, func(o Outcome) { out <- o })
		if err != nil {
			t.Fatal(err)
		}
		if c.ok {
			respond(t, next(t, called.requests), 200, "t")
			next(t, out)
			continue
		}
		if o := next(t, out); !errors.Is(o.Err, ErrTransport) {
			t.Errorf("%s: %+v", name, o)
		}
		none(t, called.requests)
		if n := caller.Stats().Handshakes; n != 1 {
			t.Errorf("%s: %d failed handshakes", name, n)
		}
	}
}

func TestWhoConnectsMayHaveToShowACertificate(t *testing.T) {
	authority := ca.New(t)
	mine := Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()}
	for name, c := range map[string]struct {
		demanded bool
		shown    tls.Certificate
		ok       bool
	}{
		"none, not demanded":        {ok: true},
		"one, not demanded":         {shown: authority.Issue("sip.example.net"), ok: true},
		"a foreign, not demanded":   {shown: ca.New(t).Issue("sip.example.net"), ok: true},
		"one, demanded":             {demanded: true, shown: authority.Issue("sip.example.net"), ok: true},
		"none, demanded":            {demanded: true},
		"a foreign one, one wanted": {demanded: true, shown: ca.New(t).Issue("sip.example.net")},
	} {
		shown := mine
		shown.ClientCertificates = c.demanded
		l, u, addr := onTLS(t, &shown)
		asked := false
		s := dialTLS(t, addr, &tls.Config{RootCAs: authority.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &c.shown, nil
		}})
		if asked != c.demanded {
			t.Errorf("%s: asked for a certificate: %v", name, asked)
		}
		_, _ = io.WriteString(s, tlsRequest("OPTIONS", "z9hG4bK1")) // fails, or does not, where the handshake has
		if !c.ok {
			if _, err := s.in.ReadByte(); err == nil {
				t.Errorf("%s: talked with", name)
			}
			none(t, u.requests)
			if err := l.Close(); err != nil { // counted by then
				t.Fatal(err)
			}
			if n := l.Stats().Handshakes; n != 1 {
				t.Errorf("%s: %d failed handshakes", name, n)
			}
			continue
		}
		respond(t, next(t, u.requests), 200, "t")
	}
}

func TestANewCertificateHoldsForNewConnectionsOnly(t *testing.T) {
	first, second := ca.New(t), ca.New(t)
	var now atomic.Pointer[Credentials]
	now.Store(&Credentials{Certificate: first.Issue("127.0.0.1"), Authorities: first.Pool()})
	l, u, _ := onTCP(t, func(o *Options) { o.Credentials = now.Load })
	addr, err := l.Listen("tls", loopback)
	if err != nil {
		t.Fatal(err)
	}
	old := dialTLS(t, addr, &tls.Config{RootCAs: first.Pool()})
	now.Store(&Credentials{Certificate: second.Issue("127.0.0.1"), Authorities: second.Pool()})
	for i, s := range []*stream{old, dialTLS(t, addr, &tls.Config{RootCAs: second.Pool()})} {
		s.send(strings.Replace(tlsRequest("OPTIONS", "z9hG4bK"+string(rune('1'+i))), "in-1", "in-"+string(rune('1'+i)), 1))
		respond(t, next(t, u.requests), 200, "t")
		if res := s.message(); !strings.HasPrefix(res, "SIP/2.0 200 ") {
			t.Fatal(res)
		}
	}
}

func TestNoTLSOlderThan12AndNoHandshakeWithAStranger(t *testing.T) {
	authority := ca.New(t)
	mine := &Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()}
	_, _, addr := onTLS(t, mine)
	if c, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 was taken")
	}
	l, _, addr := onTLS(t, mine, func(o *Options) { o.Accept = func(netip.Addr) bool { return false } })
	dialTCP(t, addr).ends() // without a byte of TLS
	if s := l.Stats(); s.DroppedSource != 1 || s.Handshakes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestClosingDoesNotWaitForAHandshakeThatNeverComes(t *testing.T) {
	authority := ca.New(t)
	mine := &Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()}
	l, _, addr := onTLS(t, mine)
	silent := dialTCP(t, addr) // says nothing
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	out := make(chan Outcome, 1)
	to := Target{Network: "tls", Addr: deaf.Addr().(*net.TCPAddr).AddrPort()}
	if _, err := l.Request(request(sip.OPTIONS), to, func(o Outcome) { out <- o }); err != nil {
		t.Fatal(err)
	}
	c, err := deaf.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	silent.ends()
	if o := next(t, out); !errors.Is(o.Err, ErrClosed) {
		t.Fatalf("%+v", o)
	}
}

func TestWithoutATLSListenerNothingIsSentOverTLS(t *testing.T) {
	authority := ca.New(t)
	l, _, addr := onTCP(t, shows(&Credentials{Certificate: authority.Issue("127.0.0.1"), Authorities: authority.Pool()}))
	if _, err := l.Request(request(sip.OPTIONS), Target{Network: "tls", Addr: addr}, func(Outcome) {}); !errors.Is(err, ErrTransport) {
		t.Fatal(err)
	}
	bare, _, _ := onTCP(t)
	if _, err := bare.Listen("tls", loopback); err == nil {
		t.Fatal("listens over TLS without a certificate")
	}
}
