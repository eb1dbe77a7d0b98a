package b2bua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

var (
	alice   = e164.MustParse("+919800000001")
	bob     = e164.MustParse("+919800000002")
	carol   = e164.MustParse("+919800000003")
	dave    = e164.MustParse("+919800000004")
	erin    = e164.MustParse("+919800000005")
	virtual = e164.MustParse("+914000000001")
)

const (
	offerOfA = "v=0\r\no=alice 7 7 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\n" +
		"m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n" +
		"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
	answerOfB = "v=0\r\no=bob 9 9 IN IP4 203.0.113.20\r\ns=-\r\nc=IN IP4 203.0.113.20\r\nt=0 0\r\n" +
		"m=audio 50000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n" +
		"a=sendrecv\r\n"
	// offerOfWords has a codec that answerOfB lacks.
	offerOfWords = "v=0\r\no=alice 7 8 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\n" +
		"m=audio 40000 RTP/AVP 9\r\na=rtpmap:9 G722/8000\r\n"
)

// trace is the order in which the fakes were used.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (t *trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

func (t *trace) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

func (t *trace) count(line string) int {
	n := 0
	for _, l := range t.all() {
		if l == line {
			n++
		}
	}
	return n
}

// index is where line stands first; -1 if nowhere.
func (t *trace) index(line string) int { return slices.Index(t.all(), line) }

// fakeDirector routes one allocation by the real rule.
type fakeDirector struct {
	trace *trace
	mu    sync.Mutex
	route masking.Route
	err   error         // instead of a plan
	panic bool          // instead of anything
	gate  chan struct{} // Route waits for it, if set
	why   []masking.Refusal
}

func (d *fakeDirector) Route(ctx context.Context, a masking.Ask) (masking.Plan, func(), error) {
	if d.gate != nil {
		select {
		case <-d.gate:
		case <-ctx.Done():
			return masking.Plan{}, nil, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.panic {
		panic("director")
	}
	if d.err != nil {
		return masking.Plan{}, nil, d.err
	}
	plan, err := masking.Admit(d.route, a.Caller, time.Now())
	if err != nil {
		return masking.Plan{}, nil, err
	}
	return plan, func() { d.trace.add("release") }, nil
}

func (d *fakeDirector) Refused(_ masking.Ask, _ masking.Plan, why masking.Refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = append(d.why, why)
}

func (d *fakeDirector) setTo(to ...e164.Number) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.route.Found[0].To = to
}

// fakeJournal keeps what is noted.
type fakeJournal struct {
	trace *trace
	mu    sync.Mutex
	notes []note
}

type note struct {
	moment masking.Moment
	call   masking.Call
}

var momentNames = []string{"began", "rang", "answered", "ended"}

func (j *fakeJournal) Note(m masking.Moment, c masking.Call, zone *time.Location) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trace.add("note %s", momentNames[m])
	if zone == nil {
		j.trace.add("note without zone")
	}
	j.notes = append(j.notes, note{m, c})
}

func (j *fakeJournal) of(m masking.Moment) []masking.Call {
	j.mu.Lock()
	defer j.mu.Unlock()
	var calls []masking.Call
	for _, n := range j.notes {
		if n.moment == m {
			calls = append(calls, n.call)
		}
	}
	return calls
}

// fakeTrunks gives the same trunks for every number.
type fakeTrunks struct {
	trunks []Trunk
	asked  []e164.Number
}

func (f *fakeTrunks) Outgoing(callerID e164.Number) []Trunk {
	f.asked = append(f.asked, callerID)
	return slices.Clone(f.trunks)
}

// fakeTrunk dials fakeLegs and keeps them.
type fakeTrunk struct {
	name  string
	ex    *exchange
	panic bool
}

func (f *fakeTrunk) Name() string { return f.name }

func (f *fakeTrunk) Dial(d Dial) Leg {
	if f.panic {
		panic("trunk")
	}
	f.ex.mu.Lock()
	defer f.ex.mu.Unlock()
	l := &fakeLeg{name: fmt.Sprintf("B%d", len(f.ex.dialled)+1), trace: f.ex.trace, dial: d, trunk: f.name, slow: f.ex.slow}
	l.inbox, l.hidden = d.Inbox, d.Hidden
	f.ex.dialled = append(f.ex.dialled, l)
	f.ex.trace.add("dial %s", l.name)
	return l
}

// fakeLeg is either side's leg. It says Gone as soon as it is ended, unless slow.
type fakeLeg struct {
	name  string
	trace *trace
	trunk string
	dial  Dial

	mu      sync.Mutex
	inbox   func(Event)
	hidden  []e164.Number
	slow    bool
	panicOn string // the method that panics
	rings   int
	answers []string
	refused int
	ends    []Reason
	gone    bool
}

func (l *fakeLeg) trip(method string) {
	if l.panicOn == method {
		panic("leg " + method)
	}
}

func (l *fakeLeg) Bind(inbox func(Event), hidden []e164.Number) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hidden != nil {
		l.trip("bind")
	}
	l.inbox, l.hidden = inbox, hidden
}

func (l *fakeLeg) Ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trip("ring")
	l.rings++
	l.trace.add("%s ring", l.name)
}

func (l *fakeLeg) Answer(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trip("answer")
	l.answers = append(l.answers, string(body))
	l.trace.add("%s answer", l.name)
}

func (l *fakeLeg) RefuseOffer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	l.trace.add("%s refuse", l.name)
}

func (l *fakeLeg) End(why Reason) {
	l.mu.Lock()
	l.ends = append(l.ends, why)
	l.trace.add("%s end", l.name)
	slow := l.slow
	trips := l.panicOn == "end"
	l.mu.Unlock()
	if trips {
		panic("leg end")
	}
	if !slow {
		l.vanish()
	}
}

// vanish says Gone, once.
func (l *fakeLeg) vanish() {
	l.mu.Lock()
	first := !l.gone
	l.gone = true
	l.mu.Unlock()
	if first {
		l.say(Event{Kind: EvGone})
	}
}

// say sends an event as the leg would.
func (l *fakeLeg) say(e Event) {
	l.mu.Lock()
	inbox := l.inbox
	l.mu.Unlock()
	inbox(e)
}

func (l *fakeLeg) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ends) > 0
}

func (l *fakeLeg) end() Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ends) == 0 {
		return Reason{}
	}
	return l.ends[0]
}

// fakeMedia opens sessions with ports of their own.
type fakeMedia struct {
	mu       sync.Mutex
	fail     bool
	sessions []*fakeSession
}

func (m *fakeMedia) Open() (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail {
		return nil, errors.New("no port is free")
	}
	s := &fakeSession{port: uint16(20000 + 4*len(m.sessions))}
	m.sessions = append(m.sessions, s)
	return s, nil
}

// last is the session opened last; nil if none was.
func (m *fakeMedia) last() *fakeSession {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sessions) == 0 {
		return nil
	}
	return m.sessions[len(m.sessions)-1]
}

type fakeSession struct {
	mu     sync.Mutex
	port   uint16
	heard  [2]time.Time
	peers  [2][]Stream
	closed int
}

func (s *fakeSession) Local(side Side) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), s.port+2*uint16(side))
}

func (s *fakeSession) Connect(side Side, st Stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[side] = append(s.peers[side], st)
	return nil
}

func (s *fakeSession) LastHeard() [2]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

func (s *fakeSession) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

func (s *fakeSession) hear(side Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[side] = time.Now()
}

func (s *fakeSession) peer(side Side) Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.peers[side]) == 0 {
		return Stream{}
	}
	return s.peers[side][len(s.peers[side])-1]
}

// exchange is an Exchange among fakes, with Alice calling the numbers of To.
type exchange struct {
	*Exchange
	t        *testing.T
	trace    *trace
	director *fakeDirector
	journal  *fakeJournal
	trunks   *fakeTrunks
	media    *fakeMedia
	log      *strings.Builder
	caller   *fakeLeg
	mu       sync.Mutex
	dialled  []*fakeLeg
	slow     bool // legs dialled say Gone only when told
	calls    int
}

func newExchange(t *testing.T, to ...e164.Number) *exchange {
	tr := &trace{}
	tenant := masking.Tenant{ID: "acme", Settings: masking.DefaultSettings(time.UTC)}
	allocation := masking.Allocation{ID: "gvn_1", Tenant: "acme", VirtualNumber: virtual, From: []e164.Number{alice},
		To: to, Usage: masking.TwoWay, CustomField: "order 7", ExpiresAt: time.Now().Add(time.Hour)}
	f := &exchange{t: t, trace: tr, log: &strings.Builder{},
		director: &fakeDirector{trace: tr, route: masking.Route{Tenant: tenant,
			Number: masking.VirtualNumber{Number: virtual, Tenant: "acme"}, Found: []masking.Allocation{allocation}}},
		journal: &fakeJournal{trace: tr}, trunks: &fakeTrunks{}, media: &fakeMedia{}}
	f.trunks.trunks = []Trunk{&fakeTrunk{name: "one", ex: f}}
	f.Exchange = New(Options{Director: f.director, Journal: f.journal, Trunks: f.trunks, Media: f.media, Node: "n1",
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Clock: time.Now})
	return f
}

// invite is Alice's INVITE.
func (f *exchange) invite() Invite {
	f.calls++
	f.caller = &fakeLeg{name: "A", trace: f.trace}
	return Invite{Ask: masking.Ask{Call: masking.CallID(fmt.Sprintf("call_%d", f.calls)), Trunk: "one", Called: virtual,
		Caller: alice, Received: time.Now()}, Offer: []byte(offerOfA), Hops: 60, Leg: f.caller}
}

// call lets Alice's INVITE come in and waits until nothing more happens.
func (f *exchange) call() {
	f.Incoming(f.invite())
	synctest.Wait()
}

// b is the n-th leg dialled, from 1.
func (f *exchange) b(n int) *fakeLeg {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.dialled) < n {
		f.t.Fatalf("only %d legs dialled, want %d: %v", len(f.dialled), n, f.trace.all())
	}
	return f.dialled[n-1]
}

func (f *exchange) dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dialled)
}

// tell lets a leg say something and waits until nothing more happens.
func (f *exchange) tell(l *fakeLeg, e Event) {
	l.say(e)
	synctest.Wait()
}

// connect brings the call to talk.
func (f *exchange) connect() {
	f.t.Helper()
	f.call()
	f.tell(f.b(1), Event{Kind: EvRinging})
	f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
	if len(f.caller.answers) != 1 {
		f.t.Fatalf("the call is not connected: %v", f.trace.all())
	}
}

// ended is the one record of the call's end. It fails unless all is over.
func (f *exchange) ended() masking.Call {
	f.t.Helper()
	synctest.Wait()
	if f.Live() != 0 {
		f.t.Fatalf("%d calls are still up: %v", f.Live(), f.trace.all())
	}
	f.checkBooks()
	records := f.journal.of(masking.Ended)
	if len(records) != 1 {
		f.t.Fatalf("%d records of the end: %v", len(records), f.trace.all())
	}
	return records[0]
}

// checkBooks checks what must hold after every call.
func (f *exchange) checkBooks() {
	f.t.Helper()
	if fault := f.fault(); fault != "" {
		f.t.Fatalf("%s: %v", fault, f.trace.all())
	}
}

func (f *exchange) fault() string {
	began, ended := f.trace.count("note began"), f.trace.count("note ended")
	switch {
	case began != ended:
		return fmt.Sprintf("%d calls began and %d ended", began, ended)
	case began > f.calls:
		return "a call began twice"
	case f.trace.count("release") != began:
		return fmt.Sprintf("%d calls began and %d were released", began, f.trace.count("release"))
	case f.trace.count("note answered") > began:
		return "a call was answered twice"
	case f.trace.index("release") > f.trace.index("note ended"):
		return "the record was closed before the caller was released"
	case f.trace.count("note without zone") > 0:
		return "a note without zone"
	}
	for i, s := range f.media.sessions {
		if s.closed != 1 {
			return fmt.Sprintf("media session %d was closed %d times", i, s.closed)
		}
	}
	for _, l := range append(slices.Clone(f.dialled), f.caller) {
		if !l.ended() {
			return "leg " + l.name + " was never ended"
		}
	}
	return f.leak()
}

// leak looks for a whole number in the log, and for a hidden list that lacks a party.
func (f *exchange) leak() string {
	for _, n := range []e164.Number{alice, bob, carol, dave, erin} {
		if strings.Contains(f.log.String(), n.National()) {
			return "a number stands in the log"
		}
	}
	return ""
}

func audioOf(t *testing.T, body string) sdp.Media {
	t.Helper()
	d, err := sdp.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	m, ok := d.Audio()
	if !ok {
		t.Fatalf("no audio in %q", body)
	}
	return m
}

// origin is the session id and the version of o=.
func origin(t *testing.T, body string) (id, version string) {
	t.Helper()
	_, rest, _ := strings.Cut(body, "\r\no=- ")
	words := strings.Fields(rest)
	if len(words) < 2 {
		t.Fatalf("no o= of ours in %q", body)
	}
	return words[0], words[1]
}

// wait lets time pass and then waits until nothing more happens.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
