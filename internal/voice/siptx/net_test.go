package siptx

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A wire is a UDP network in memory, for testing/synctest bubbles.
type wire struct {
	mu    sync.Mutex
	ports map[netip.AddrPort]*memConn
	fail  error                                  // every write fails with it
	lose  func(to netip.AddrPort, b string) bool // true: the packet is lost
}

type packet struct {
	from netip.AddrPort
	b    []byte
}

// A memConn is one port of a wire.
type memConn struct {
	w      *wire
	addr   netip.AddrPort
	in     chan packet
	closed chan struct{}
	once   sync.Once
}

func newWire() *wire { return &wire{ports: make(map[netip.AddrPort]*memConn)} }

func (w *wire) open(addr string) *memConn {
	a := netip.MustParseAddrPort(addr)
	c := &memConn{w: w, addr: a, in: make(chan packet, 4096), closed: make(chan struct{})}
	w.mu.Lock()
	w.ports[a] = c
	w.mu.Unlock()
	return c
}

func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (c *memConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-c.in:
		return copy(b, p.b), p.from, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *memConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.fail != nil {
		return 0, c.w.fail
	}
	if peer := c.w.ports[to]; peer != nil && (c.w.lose == nil || !c.w.lose(to, string(b))) {
		peer.in <- packet{c.addr, append([]byte(nil), b...)}
	}
	return len(b), nil
}

func (c *memConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// patience is how long a test waits for what must come. In a bubble it costs nothing.
const patience = 40 * time.Second

// read returns the next packet as text.
func (c *memConn) read(t testing.TB) string {
	t.Helper()
	select {
	case p := <-c.in:
		return string(p.b)
	case <-time.After(patience):
		t.Fatal("no packet came")
		return ""
	}
}

// quiet fails if a packet comes within d.
func (c *memConn) quiet(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case p := <-c.in:
		t.Fatalf("unexpected packet:\n%s", p.b)
	case <-time.After(d):
	}
}

// within returns the packets that come within d, first lines only.
func (c *memConn) within(d time.Duration) []string {
	var got []string
	end := time.After(d)
	for {
		select {
		case p := <-c.in:
			line, _, _ := strings.Cut(string(p.b), "\r\n")
			got = append(got, line)
		case <-end:
			return got
		}
	}
}

func (c *memConn) send(t testing.TB, to *memConn, text string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to.addr); err != nil {
		t.Fatal(err)
	}
}

// A tu records what its layer tells it.
type tu struct {
	requests chan *ServerTx
	acks     chan *sip.Request
	cancels  chan *ServerTx
	strays   chan *sip.Response
	answer   func(tx *ServerTx, req *sip.Request) // instead of recording a request
}

func newTU() *tu {
	return &tu{
		requests: make(chan *ServerTx, 64), acks: make(chan *sip.Request, 64),
		cancels: make(chan *ServerTx, 64), strays: make(chan *sip.Response, 64),
	}
}

func (u *tu) OnRequest(tx *ServerTx, req *sip.Request) {
	if u.answer != nil {
		u.answer(tx, req)
		return
	}
	u.requests <- tx
}
func (u *tu) OnAck(req *sip.Request)                      { u.acks <- req }
func (u *tu) OnCancel(invite *ServerTx, _ *sip.Request)   { u.cancels <- invite }
func (u *tu) OnStray(res *sip.Response, _ netip.AddrPort) { u.strays <- res }

func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %T came", *new(T))
		panic("unreachable")
	}
}

func none[T any](t testing.TB, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("unexpected %T", v)
	default:
	}
}

// A rig is a layer on a wire, with a scripted peer.
type rig struct {
	*wire
	l    *Layer
	tu   *tu
	us   *memConn
	peer *memConn
	out  chan Outcome
}

func newRig(t testing.TB, edit ...func(*Options)) *rig {
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
	w := newWire()
	r := &rig{wire: w, l: l, tu: u, us: w.open("192.0.2.1:5060"), peer: w.open("192.0.2.9:5062"),
		out: make(chan Outcome, 64)}
	if err := l.serve(r.us, r.us.addr); err != nil {
		t.Fatal(err)
	}
	return r
}

// close ends the layer and fails if anything is left.
func (r *rig) close(t testing.TB) {
	t.Helper()
	if err := r.l.Close(); err != nil {
		t.Error(err)
	}
	if s := r.l.Stats(); s.ClientTx != 0 || s.ServerTx != 0 || s.Conns != 0 || s.Panics != 0 {
		t.Errorf("left after Close: %+v", s)
	}
}

func (r *rig) target() Target { return Target{Network: "udp", Addr: r.peer.addr} }

// request builds a request of ours.
func request(method sip.RequestMethod, headers ...sip.Header) *sip.Request {
	var uri sip.Uri
	if err := sip.ParseUri("sip:b@192.0.2.9", &uri); err != nil {
		panic(err)
	}
	req := sip.NewRequest(method, uri)
	hops, id := sip.MaxForwardsHeader(70), sip.CallIDHeader("call-1")
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: uri, Params: sip.HeaderParams{{K: "tag", V: "ours"}}})
	req.AppendHeader(&sip.ToHeader{Address: uri})
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: method})
	for _, h := range headers {
		req.AppendHeader(h)
	}
	return req
}

func (r *rig) start(t testing.TB, req *sip.Request) *ClientTx {
	t.Helper()
	tx, err := r.l.Request(req, r.target(), func(o Outcome) { r.out <- o })
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// status waits for an outcome that is this status code.
func (r *rig) status(t testing.TB, code int) *sip.Response {
	t.Helper()
	o := next(t, r.out)
	if o.Err != nil || o.Res.StatusCode != code {
		t.Fatalf("got %+v, want %d", o, code)
	}
	return o.Res
}

// field returns the first value of a header field in a message's text.
func field(msg, name string) string {
	for _, line := range strings.Split(msg, "\r\n") {
		if k, v, ok := strings.Cut(line, ": "); ok && k == name {
			return v
		}
	}
	return ""
}

// reply builds the response text to a request's text.
func reply(req string, code int, tag string) string {
	to := field(req, "To")
	if tag != "" && !strings.Contains(to, "tag=") {
		to += ";tag=" + tag
	}
	return fmt.Sprintf("SIP/2.0 %d Text\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
		code, field(req, "Via"), field(req, "From"), to, field(req, "Call-ID"), field(req, "CSeq"))
}

// incoming builds a request text from a peer at 192.0.2.9:5062.
func incoming(method, branch string, more ...string) string {
	lines := append([]string{method + " sip:us@192.0.2.1 SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.9:5062;branch=" + branch + ";rport",
		"Max-Forwards: 70",
		"From: <sip:a@192.0.2.9>;tag=theirs",
		"To: <sip:us@192.0.2.1>",
		"Call-ID: in-1",
		"CSeq: 3 " + method}, more...)
	return strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

func startLine(msg string) string {
	line, _, _ := strings.Cut(msg, "\r\n")
	return line
}

// respond answers as a TU would.
func respond(t testing.TB, tx *ServerTx, code int, tag string) {
	t.Helper()
	if err := tx.Respond(answer(tx.Request(), code, "Text", tag)); err != nil {
		t.Fatal(err)
	}
}
