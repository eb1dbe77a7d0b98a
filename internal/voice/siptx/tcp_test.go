package siptx

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// onTCP returns a layer that listens on loopback TCP, and its address.
func onTCP(t testing.TB, edit ...func(*Options)) (*Layer, *tu, netip.AddrPort) {
	t.Helper()
	u := newTU()
	o := Options{Handler: u}
	for _, f := range edit {
		f(&o)
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s := l.Stats(); s.ClientTx != 0 || s.ServerTx != 0 || s.Conns != 0 || s.Panics != 0 {
			t.Errorf("left after Close: %+v", s)
		}
	})
	addr, err := l.Listen("tcp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	return l, u, addr
}

// A stream is a scripted TCP peer.
type stream struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func newStream(t testing.TB, c net.Conn) *stream {
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &stream{t, c, bufio.NewReader(c)}
}

func dialTCP(t testing.TB, addr netip.AddrPort) *stream {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return newStream(t, c)
}

func (s *stream) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		s.t.Fatal(err)
	}
}

// message reads one message without a body.
func (s *stream) message() string {
	s.t.Helper()
	var b strings.Builder
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.t.Fatalf("after %q: %v", b.String(), err)
		}
		if b.WriteString(line); line == "\r\n" {
			return b.String()
		}
	}
}

// ends fails unless the peer closes the connection and says nothing more.
func (s *stream) ends() {
	s.t.Helper()
	rest, err := io.ReadAll(s.in)
	if err != nil || len(rest) > 0 {
		s.t.Fatalf("not closed: %q, %v", rest, err)
	}
}

func tcpRequest(method, branch string) string {
	return strings.Replace(incoming(method, branch), "SIP/2.0/UDP", "SIP/2.0/TCP", 1)
}

func TestARequestSplitAtEveryByteArrivesOverTCP(t *testing.T) {
	_, u, addr := onTCP(t)
	s := dialTCP(t, addr)
	req := tcpRequest("OPTIONS", "z9hG4bK1")
	for i := range len(req) {
		s.send(req[i : i+1])
	}
	tx := next(t, u.requests)
	if tx.Network() != "tcp" {
		t.Fatal(tx.Network())
	}
	respond(t, tx, 200, "t")
	res := s.message()
	if !strings.HasPrefix(res, "SIP/2.0 200 ") || !strings.Contains(field(res, "Via"), ";received=127.0.0.1") {
		t.Fatal(res)
	}
}

func TestPipelinedRequestsAreAnsweredInOrderOverTCP(t *testing.T) {
	_, u, addr := onTCP(t)
	u.answer = func(tx *ServerTx, req *sip.Request) {
		if err := tx.Respond(answer(req, 200, "OK", "t")); err != nil {
			t.Error(err)
		}
	}
	s := dialTCP(t, addr)
	var all strings.Builder
	const n = 200
	for i := range n {
		all.WriteString(strings.Replace(tcpRequest("OPTIONS", "z9hG4bK"+strconv.Itoa(i)), "in-1", strconv.Itoa(i), 1))
	}
	go func() { _, _ = io.WriteString(s, all.String()) }() // ends with the connection
	for i := range n {
		if res := s.message(); field(res, "Call-ID") != strconv.Itoa(i) {
			t.Fatalf("answer %d is for %s", i, field(res, "Call-ID"))
		}
	}
}

func TestADoubleCRLFIsAnsweredWithOne(t *testing.T) {
	_, u, addr := onTCP(t)
	s := dialTCP(t, addr)
	s.send("\r\n\r\n")
	pong := make([]byte, 2)
	if _, err := io.ReadFull(s.in, pong); err != nil || string(pong) != "\r\n" {
		t.Fatalf("%q, %v", pong, err)
	}
	s.send(tcpRequest("OPTIONS", "z9hG4bK1"))
	respond(t, next(t, u.requests), 200, "t")
	if res := s.message(); !strings.HasPrefix(res, "SIP/2.0 200 ") {
		t.Fatalf("%q", res)
	}
}

func TestAStreamWithoutBoundariesIsAnswered400AndClosed(t *testing.T) {
	l, _, addr := onTCP(t)
	s := dialTCP(t, addr)
	s.send(strings.Replace(tcpRequest("OPTIONS", "z9hG4bK1"), "Content-Length: 0\r\n", "", 1))
	if res := s.message(); !strings.HasPrefix(res, "SIP/2.0 400 ") {
		t.Fatal(res)
	}
	s.ends()

	s = dialTCP(t, addr)
	s.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.ends()
	if n := l.Stats().Malformed; n != 2 {
		t.Fatalf("%d malformed", n)
	}
}

func TestAMalformedMessageDoesNotCostTheConnection(t *testing.T) {
	_, u, addr := onTCP(t)
	s := dialTCP(t, addr)
	s.send(strings.Replace(tcpRequest("OPTIONS", "z9hG4bK1"), "CSeq: 3", "CSeq: x", 1) + tcpRequest("OPTIONS", "z9hG4bK2"))
	if res := s.message(); !strings.HasPrefix(res, "SIP/2.0 400 ") {
		t.Fatal(res)
	}
	next(t, u.requests)
}

func TestUnknownSourcesAndTooManyConnectionsAreClosedAtOnce(t *testing.T) {
	l, _, addr := onTCP(t, func(o *Options) { o.Accept = func(netip.Addr) bool { return false } })
	dialTCP(t, addr).ends()
	if s := l.Stats(); s.DroppedSource != 1 || s.Conns != 0 {
		t.Fatalf("%+v", s)
	}
	l, _, addr = onTCP(t, func(o *Options) { o.MaxConns = 1 })
	first := dialTCP(t, addr)
	first.send("\r\n\r\n")
	if _, err := first.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	dialTCP(t, addr).ends()
	if s := l.Stats(); s.Overload != 1 || s.Conns != 1 {
		t.Fatalf("%+v", s)
	}
}

// acceptTCP listens as a peer would.
func acceptTCP(t testing.TB) (Target, func() *stream) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return Target{Network: "tcp", Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, func() *stream {
		_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return newStream(t, c)
	}
}

func TestACallGoesOverOneConnection(t *testing.T) {
	l, u, addr := onTCP(t)
	to, accept := acceptTCP(t)
	out := make(chan Outcome, 8)
	tx, err := l.Request(request(sip.INVITE), to, func(o Outcome) { out <- o })
	if err != nil {
		t.Fatal(err)
	}
	s := accept()
	req := s.message()
	if !strings.HasPrefix(field(req, "Via"), "SIP/2.0/TCP "+addr.String()+";branch=z9hG4bK") {
		t.Fatal(field(req, "Via"))
	}
	s.send(reply(req, 183, "x") + reply(req, 200, "x"))
	if a, b := next(t, out), next(t, out); a.Res.StatusCode != 183 || b.Res.StatusCode != 200 {
		t.Fatal(a, b)
	}
	ack := tx.Request().Clone()
	ack.Method, ack.CSeq().MethodName = sip.ACK, sip.ACK
	if err := l.Send(ack, to); err != nil {
		t.Fatal(err)
	}
	if got := s.message(); !strings.HasPrefix(got, "ACK ") {
		t.Fatal(got)
	}
	s.send(tcpRequest("BYE", "z9hG4bK1")) // the peer's request on the connection we dialled
	respond(t, next(t, u.requests), 200, "t")
	if got := s.message(); !strings.HasPrefix(got, "SIP/2.0 200 ") {
		t.Fatal(got)
	}
	if n := l.Stats().Conns; n != 1 {
		t.Fatalf("%d connections", n)
	}
}

func TestALostConnectionEndsTheRequestsThatWaitOnIt(t *testing.T) {
	l, _, _ := onTCP(t)
	to, accept := acceptTCP(t)
	out := make(chan Outcome, 8)
	for _, m := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS} {
		if _, err := l.Request(request(m), to, func(o Outcome) { out <- o }); err != nil {
			t.Fatal(err)
		}
	}
	s := accept()
	s.send(reply(s.message(), 180, "x"))
	if o := next(t, out); o.Err != nil {
		t.Fatal(o.Err)
	}
	s.message()
	_ = s.Close()
	for range 2 {
		if o := next(t, out); !errors.Is(o.Err, ErrTransport) {
			t.Fatalf("%+v", o)
		}
	}
}

func TestNobodyListeningIsATransportError(t *testing.T) {
	l, _, _ := onTCP(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := Target{Network: "tcp", Addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	_ = ln.Close()
	out := make(chan Outcome, 1)
	if _, err := l.Request(request(sip.INVITE), to, func(o Outcome) { out <- o }); err != nil {
		t.Fatal(err)
	}
	if o := next(t, out); !errors.Is(o.Err, ErrTransport) {
		t.Fatalf("%+v", o)
	}
}

func TestAResponseFindsAnotherWayWhenItsConnectionIsGone(t *testing.T) {
	l, u, addr := onTCP(t)
	to, accept := acceptTCP(t)
	s := dialTCP(t, addr)
	s.send(strings.Replace(tcpRequest("INVITE", "z9hG4bK1"), "192.0.2.9:5062", to.Addr.String(), 1))
	tx := next(t, u.requests)
	l.mu.Lock()
	c := l.conns[connKey{network: "tcp", remote: tx.Source()}]
	l.mu.Unlock()
	_ = s.Close()
	next(t, c.done) // until the layer has seen it
	respond(t, tx, 486, "t")
	if got := accept().message(); !strings.HasPrefix(got, "SIP/2.0 486 ") {
		t.Fatal(got)
	}
}

func TestAPeerWhoDoesNotReadLosesTheConnection(t *testing.T) {
	l, _, _ := onTCP(t)
	to, accept := acceptTCP(t)
	out := make(chan Outcome, 1)
	big := func() *sip.Request {
		r := request(sip.OPTIONS)
		r.SetBody(make([]byte, 60000))
		return r
	}
	if _, err := l.Request(big(), to, func(o Outcome) { out <- o }); err != nil {
		t.Fatal(err)
	}
	accept() // and never read
	var err error
	for range 10000 {
		if _, err = l.Request(big(), to, func(Outcome) {}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrTransport) {
		t.Fatal(err)
	}
	if o := next(t, out); !errors.Is(o.Err, ErrTransport) {
		t.Fatalf("%+v", o)
	}
}

func TestListenRefusesWhatItCannotDo(t *testing.T) {
	l, _, _ := onTCP(t)
	for name, f := range map[string]func() (netip.AddrPort, error){
		"sctp":        func() (netip.AddrPort, error) { return l.Listen("sctp", loopback) },
		"no address":  func() (netip.AddrPort, error) { return l.Listen("udp", netip.AddrPort{}) },
		"unspecified": func() (netip.AddrPort, error) { return l.Listen("udp", netip.MustParseAddrPort("0.0.0.0:0")) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no handler: taken")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if _, err := l.Listen(network, loopback); !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", network, err)
		}
	}
}
