package sipua

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// brisk are timers that keep a test short: 64*T1 is two thirds of a second.
var brisk = siptx.Timers{T1: 10 * time.Millisecond, T2: 40 * time.Millisecond, T4: 50 * time.Millisecond}

// lazy are timers with which nothing is sent twice within a test.
var lazy = siptx.Timers{T1: 5 * time.Second}

const (
	alice   = "+919912345601" // calls in
	bob     = "+918867676702" // is called
	virtual = "+914000000001"
	sdpBody = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=sendrecv\r\n"
)

// rig is an agent on UDP and TCP sockets of loopback, with a fake of b2bua above it.
type rig struct {
	t        testing.TB
	ua       *Agent
	udp, tcp netip.AddrPort
	calls    chan *incomingCall
	draining atomic.Bool
	ids      atomic.Int64
}

// incomingCall is what the fake of b2bua got: its leg, and the leg's events.
type incomingCall struct {
	b2bua.Invite
	events
}

// events is an inbox.
type events chan b2bua.Event

func newEvents() events { return make(events, 256) }

func (ev events) inbox(e b2bua.Event) { ev <- e }

// next gives the next event and fails if it is of another kind.
func (ev events) next(t testing.TB, kind b2bua.EventKind) b2bua.Event {
	t.Helper()
	select {
	case e := <-ev:
		if e.Kind != kind {
			t.Fatalf("event %v, want %v", e.Kind, kind)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("event %v never came", kind)
		return b2bua.Event{}
	}
}

// none fails if an event waits.
func (ev events) none(t testing.TB) {
	t.Helper()
	select {
	case e := <-ev:
		t.Fatalf("unexpected event %v", e.Kind)
	default:
	}
}

// newRig starts an agent. It is closed, and found without legs and panics, at the
// end of the test.
func newRig(t testing.TB, edit ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, calls: make(chan *incomingCall, 64)}
	o := Options{Log: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})), Timers: lazy,
		NewCallID: func() masking.CallID { return masking.CallID("call_" + strconv.FormatInt(r.ids.Add(1), 10)) },
		OnInvite:  r.take, Draining: r.draining.Load, Silence: time.Minute}
	for _, f := range edit {
		f(&o)
	}
	var err error
	if r.ua, err = New(o); err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	if r.udp, err = r.ua.Listen("udp", loopback); err != nil {
		t.Fatal(err)
	}
	if r.tcp, err = r.ua.Listen("tcp", loopback); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if err := r.ua.Close(ctx); err != nil {
			t.Error(err)
		}
		if n := r.ua.Stats().Panics; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
	return r
}

func (r *rig) take(in b2bua.Invite) {
	c := &incomingCall{in, newEvents()}
	in.Leg.Bind(c.inbox, nil)
	r.calls <- c
}

// call waits for an incoming call.
func (r *rig) call() *incomingCall {
	r.t.Helper()
	select {
	case c := <-r.calls:
		return c
	case <-time.After(patience):
		r.t.Fatal("no call came in")
		return nil
	}
}

// trunk makes a trunk of peers: they may call and are called.
func trunk(name string, peers ...*peer) masking.Trunk {
	t := masking.Trunk{Name: name, Transport: masking.UDP, Country: "IN", NumberFormat: masking.FormatE164,
		TrustIdentity: true, Priority: 1, Weight: 1, CallerIDs: []string{"*"}}
	for _, p := range peers {
		t.Sources = append(t.Sources, single(p.addr.Addr()))
		t.Targets = append(t.Targets, masking.TargetAt(p.addr))
	}
	return t
}

// dial rings bob over the first way out, hiding alice.
func (r *rig) dial() (b2bua.Leg, events) {
	r.t.Helper()
	ways := r.ua.Outgoing(e164.MustParse(virtual))
	if len(ways) == 0 {
		r.t.Fatal("no way out")
	}
	ev := newEvents()
	return ways[0].Dial(b2bua.Dial{Call: "call_out", To: e164.MustParse(bob), CallerID: e164.MustParse(virtual),
		Offer: []byte(sdpBody), Hops: 30, Hidden: []e164.Number{e164.MustParse(alice)}, Inbox: ev.inbox}), ev
}

// gone waits until no leg is left.
func (r *rig) gone() {
	r.t.Helper()
	r.until("no leg is left", func() bool { return r.ua.Legs() == 0 })
}

// until waits for what nothing tells of.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			r.t.Fatalf("never: %s", what)
		}
	}
}

// peer is a carrier on a UDP socket, played by hand.
type peer struct {
	t    testing.TB
	conn *net.UDPConn
	addr netip.AddrPort
	to   netip.AddrPort
	in   chan msg
	late []msg // read by expect but not asked for
	wg   sync.WaitGroup
}

func (r *rig) peer(ip string) *peer {
	r.t.Helper()
	return r.peerAt(netip.AddrPortFrom(netip.MustParseAddr(ip), 0), r.udp)
}

// peerAt makes a peer that talks with the agent's socket at to.
func (r *rig) peerAt(at, to netip.AddrPort) *peer {
	r.t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		r.t.Fatal(err)
	}
	p := &peer{t: r.t, conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), to: to, in: make(chan msg, 1024)}
	p.wg.Go(p.read)
	r.t.Cleanup(func() { _ = conn.Close(); p.wg.Wait() })
	return p
}

// repeats reports whether a leg still repeats a 2xx.
func repeats(l b2bua.Leg) bool {
	own := l.(*leg)
	own.mu.Lock()
	defer own.mu.Unlock()
	return own.again != nil
}

func (p *peer) read() {
	buf := make([]byte, 65536)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		select {
		case p.in <- msg(buf[:n]):
		default: // a test that does not read
		}
	}
}

func (p *peer) send(m string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte(m), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// expect waits for a message whose start line begins so; others are kept for later.
func (p *peer) expect(start string) msg {
	p.t.Helper()
	return p.await(start, func(m msg) bool { return strings.HasPrefix(string(m), start) })
}

// await waits for a message; others are kept for later.
func (p *peer) await(what string, is func(msg) bool) msg {
	p.t.Helper()
	if i := slices.IndexFunc(p.late, is); i >= 0 {
		m := p.late[i]
		p.late = slices.Delete(p.late, i, i+1)
		return m
	}
	end := time.After(patience)
	for {
		select {
		case m := <-p.in:
			if is(m) {
				return m
			}
			p.late = append(p.late, m)
		case <-end:
			p.t.Fatalf("%q never came; came %v", what, starts(p.late))
			return ""
		}
	}
}

// all empties what has come.
func (p *peer) all() []msg {
	for len(p.in) > 0 {
		p.late = append(p.late, <-p.in)
	}
	all := p.late
	p.late = nil
	return all
}

// got empties what has come and gives the start lines.
func (p *peer) got() []string { return starts(p.all()) }

// count is how many of what has come begin so; nothing is taken out.
func (p *peer) count(start string) (n int) {
	p.late = p.all()
	for _, m := range p.late {
		if strings.HasPrefix(string(m), start) {
			n++
		}
	}
	return n
}

// sync makes sure that everything sent before has been handled: the agent reads a
// socket in order.
func (p *peer) sync() {
	p.t.Helper()
	d := &script{p: p, callID: newTag(), local: "<sip:ping@peer>;tag=" + newTag(), remote: "<sip:" + virtual + "@tandem>"}
	d.ask("OPTIONS", nil)
}

func starts(all []msg) (lines []string) {
	for _, m := range all {
		lines = append(lines, m.start())
	}
	return lines
}

// msg is a SIP message as text.
type msg string

func (m msg) start() string {
	line, _, _ := strings.Cut(string(m), "\r\n")
	return line
}

func (m msg) status() int {
	if !strings.HasPrefix(string(m), "SIP/2.0 ") {
		return 0
	}
	n, _ := strconv.Atoi(string(m[8:11]))
	return n
}

func (m msg) fields(name string) (all []string) {
	head, _, _ := strings.Cut(string(m), "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, name) {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

func (m msg) field(name string) string {
	if all := m.fields(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m msg) body() string {
	_, body, _ := strings.Cut(string(m), "\r\n\r\n")
	return body
}

func (m msg) toTag() string {
	_, tag, _ := strings.Cut(m.field("To"), ";tag=")
	return tag
}

func (m msg) requestURI() string { return strings.Fields(m.start())[1] }

// reply is a response to a request of the agent. more are whole header lines.
func (m msg) reply(status int, tag, body string, more ...string) string {
	to := m.field("To")
	if tag != "" && !strings.Contains(to, ";tag=") {
		to += ";tag=" + tag
	}
	lines := []string{fmt.Sprintf("SIP/2.0 %d Text", status)}
	for _, v := range m.fields("Via") {
		lines = append(lines, "Via: "+v)
	}
	lines = append(lines, "From: "+m.field("From"), "To: "+to, "Call-ID: "+m.field("Call-ID"), "CSeq: "+m.field("CSeq"))
	return text(append(lines, more...), body)
}

// text makes a message of its lines and body.
func text(lines []string, body string) string {
	if body != "" && !strings.Contains(strings.Join(lines, "\n"), "Content-Type:") {
		lines = append(lines, "Content-Type: application/sdp")
	}
	return strings.Join(append(lines, "Content-Length: "+strconv.Itoa(len(body))), "\r\n") + "\r\n\r\n" + body
}

// script is a dialog of a peer, as far as a test plays it.
type script struct {
	p             *peer
	callID        string
	local, remote string // From and To of requests, tags included
	target        string // Request-URI; "" = the virtual number at the agent
	contact       string // "" = the peer's address
	seq           int
	invite        msg // the last INVITE sent
}

// with changes a request before it is sent.
type with struct {
	seq    int // 0 = the next
	branch string
	local  string
	remote string
	uri    string
	body   string
	hops   string   // Max-Forwards, "" = 70
	more   []string // header lines
	no     string   // a header field to leave out
}

func (s *script) request(method string, w *with) string {
	if w == nil {
		w = &with{}
	}
	or := func(v, otherwise string) string {
		if v != "" {
			return v
		}
		return otherwise
	}
	if w.seq == 0 {
		s.seq++
		w.seq = s.seq
	}
	uri := or(w.uri, or(s.target, "sip:"+virtual+"@"+s.p.to.String()))
	lines := []string{method + " " + uri + " SIP/2.0",
		"Via: SIP/2.0/UDP " + s.p.addr.String() + ";rport;branch=" + or(w.branch, "z9hG4bK"+newTag()),
		"Max-Forwards: " + or(w.hops, "70"), "From: " + or(w.local, s.local), "To: " + or(w.remote, s.remote), "Call-ID: " + s.callID,
		"CSeq: " + strconv.Itoa(w.seq) + " " + method}
	if w.no != "Contact" {
		lines = append(lines, "Contact: "+or(s.contact, "<sip:peer@"+s.p.addr.String()+">"))
	}
	m := text(append(lines, w.more...), w.body)
	if method == "INVITE" {
		s.invite = msg(m)
	}
	return m
}

// ask sends a request and gives its final response.
func (s *script) ask(method string, w *with) msg {
	s.p.t.Helper()
	m := msg(s.request(method, w))
	s.p.send(string(m))
	return s.final(m)
}

// final waits for the final response to a request.
func (s *script) final(m msg) msg {
	s.p.t.Helper()
	return s.p.await("final response to "+m.start(), func(res msg) bool {
		return res.field("CSeq") == m.field("CSeq") && res.field("Call-ID") == m.field("Call-ID") && res.status() >= 200
	})
}

// caller begins a call to the virtual number: INVITE, up to where the fake has it.
func (r *rig) caller(p *peer, w *with) (*script, *incomingCall) {
	r.t.Helper()
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=" + newTag(), remote: "<sip:" + virtual + "@tandem>"}
	if w == nil {
		w = &with{body: sdpBody}
	}
	p.send(s.request("INVITE", w))
	return s, r.call()
}

// confirm takes our tag and Contact from a response.
func (s *script) confirm(res msg) {
	s.remote = res.field("To")
	s.target = strings.Trim(res.field("Contact"), "<>")
}

// ack acknowledges a 2xx.
func (s *script) ack(res msg, w *with) {
	if w == nil {
		w = &with{}
	}
	w.seq, _ = strconv.Atoi(strings.Fields(res.field("CSeq"))[0])
	s.p.send(s.request("ACK", w))
}

// established answers an incoming call, ACK included.
func (r *rig) established(p *peer) (*script, *incomingCall) {
	r.t.Helper()
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	s.ack(res, nil)
	p.sync()
	return s, c
}

// callee is the far side of an INVITE of the agent.
func (p *peer) callee(invite msg, tag string) *script {
	return &script{p: p, callID: invite.field("Call-ID"), local: invite.field("To") + ";tag=" + tag, remote: invite.field("From"),
		target: strings.Trim(invite.field("Contact"), "<>"), seq: 100, invite: invite}
}

// accept answers an INVITE of the agent with 200 and takes the ACK.
func (p *peer) accept(invite msg, tag string) *script {
	p.t.Helper()
	p.send(invite.reply(200, tag, sdpBody, "Contact: <sip:peer@"+p.addr.String()+">"))
	p.expect("ACK ")
	return p.callee(invite, tag)
}

// reached dials and has the peer answer.
func (r *rig) reached(p *peer) (*script, b2bua.Leg, events) {
	r.t.Helper()
	leg, ev := r.dial()
	s := p.accept(p.expect("INVITE "), "far")
	ev.next(r.t, b2bua.EvAnswered)
	return s, leg, ev
}

// pair is a rig with one trunk of one peer.
func pair(t testing.TB, edit ...func(*Options)) (*rig, *peer) {
	t.Helper()
	r := newRig(t, edit...)
	p := r.peer("127.0.0.2")
	r.ua.SetTrunks([]masking.Trunk{trunk("one", p)})
	return r, p
}

func quick(o *Options) { o.Timers = brisk }

func phaseOf(l b2bua.Leg) phase {
	own := l.(*leg)
	own.mu.Lock()
	defer own.mu.Unlock()
	return own.phase
}
