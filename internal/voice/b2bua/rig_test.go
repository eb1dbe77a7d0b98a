package b2bua

import (
	"fmt"
	"log/slog"
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
	caller   *fakeLeg   // who called last
	callers  []*fakeLeg // all who called
	mu       sync.Mutex
	dialled  []*fakeLeg
	slow     bool   // legs dialled say Gone only when told
	asks     bool   // nobody is rung without a PIN
	release  func() // opens the Director's gate of judging
	says     string // the caller's offer
	calls    int
}

func newExchange(t *testing.T, to ...e164.Number) *exchange {
	tr := &trace{}
	tenant := masking.Tenant{ID: "acme", Settings: masking.DefaultSettings(time.UTC)}
	allocation := masking.Allocation{ID: "gvn_1", Tenant: "acme", VirtualNumber: virtual, From: []e164.Number{alice},
		To: to, Usage: masking.TwoWay, CustomField: "order 7", ExpiresAt: time.Now().Add(time.Hour)}
	f := &exchange{t: t, trace: tr, log: &strings.Builder{}, says: offerOfA,
		director: &fakeDirector{trace: tr, wrong: map[masking.TriesOf]masking.Tries{}, route: masking.Route{Tenant: tenant,
			Number: masking.VirtualNumber{Number: virtual, Tenant: "acme"}, Found: []masking.Allocation{allocation}}},
		journal: &fakeJournal{trace: tr}, trunks: &fakeTrunks{}, media: &fakeMedia{trace: tr}}
	f.release = sync.OnceFunc(func() {
		if f.director.judging != nil {
			close(f.director.judging)
		}
	})
	f.trunks.trunks = []Trunk{&fakeTrunk{name: "one", ex: f}}
	f.Exchange = New(Options{Director: f.director, Journal: f.journal, Trunks: f.trunks, Media: f.media, Node: "n1",
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Clock: time.Now})
	t.Cleanup(func() { // a test that failed leaves calls behind, for which its bubble would wait
		for _, c := range f.book.all() {
			c.flood()
		}
	})
	return f
}

// rightPIN opens the allocation of newGreenPin.
const rightPIN = "482170"

// newGreenPin is an exchange whose number asks Alice for a PIN before it rings To.
func newGreenPin(t *testing.T, to ...e164.Number) *exchange {
	f := newExchange(t, to...)
	a := f.director.route.Found[0]
	a.ID, a.PIN, a.MaxPINAttempts = "gp_1", rightPIN, masking.DefaultPINAttempts
	f.director.pins = []masking.Allocation{a}
	f.director.route.Found, f.director.route.PINs, f.asks = nil, true, true
	return f
}

// newStranger is an exchange that no allocation lets Alice through.
func newStranger(t *testing.T, p masking.StrangerPolicy) *exchange {
	f := newExchange(t, bob)
	f.director.route.Found = nil
	f.director.route.Number.Strangers = p
	return f
}

// kind is what becomes of a call before anybody is rung.
type kind string

// The kinds. Those who are let through ring Bob, Carol and Dave.
const (
	routed    kind = "routed"
	together  kind = "all rung at once"
	pinned    kind = "asked for a PIN, then all rung at once"
	taped     kind = "recorded"
	noticed   kind = "recorded after a notice"
	asked     kind = "asked for a PIN"
	announced kind = "told that he cannot be connected"
	rejected  kind = "refused"
	forwarded kind = "forwarded"
	consulted kind = "left to a server that forwards him"
	sentAsk   kind = "left to a server that asks for a PIN"
	unheard   kind = "left to a server that is away"
)

var kinds = []kind{routed, together, pinned, taped, noticed, asked, announced, rejected, forwarded, consulted, sentAsk, unheard}

// newKind is an exchange for a call of a kind.
func newKind(t *testing.T, k kind) *exchange {
	f := newGreenPin(t, bob, carol)
	f.director.lengths = []int{4, 6, 8} // so that the right one is whole only by # or in time
	switch k {
	case pinned:
		f.director.route.Tenant.Settings.Ring = masking.Simultaneous
	case routed, together, taped, noticed:
		f = newExchange(t, bob, carol)
		if k == together {
			f.director.route.Tenant.Settings.Ring = masking.Simultaneous
		}
		f.director.route.Found[0].Record = k == taped || k == noticed
		f.director.route.Tenant.Settings.RecordingNotice = k == noticed
	case announced, rejected, forwarded:
		action := map[kind]masking.StrangerAction{announced: masking.Announce, rejected: masking.Reject, forwarded: masking.Forward}
		f = newStranger(t, masking.StrangerPolicy{Action: action[k], Forward: bob})
	case consulted, sentAsk, unheard:
		f.director.route.PINs = false
		f.director.route.Number.Strangers = masking.StrangerPolicy{Action: masking.AskWebhook, URL: "https://acme.example/strangers"}
	}
	switch k {
	case consulted:
		f.asks = false
		f.director.says = func(masking.Ruling) masking.Ruling {
			return masking.Ruling{Plan: f.director.route.ForwardPlan(bob, alice)}
		}
	case sentAsk:
		f.director.says = func(r masking.Ruling) masking.Ruling { r.Then = masking.AskPIN; return r }
	}
	return f
}

// newRinging is newKind with a call that rings whom it is for, after the PIN if one is
// asked for.
func newRinging(t *testing.T, k kind) *exchange {
	f := newKind(t, k)
	f.call()
	if k == asked || k == pinned {
		f.keys(rightPIN + "#")
	}
	return f
}

// invite is Alice's INVITE.
func (f *exchange) invite() Invite {
	f.calls++
	f.caller = &fakeLeg{name: "A", trace: f.trace}
	if len(f.callers) > 0 {
		f.caller.name += fmt.Sprint(len(f.callers) + 1)
	}
	f.callers = append(f.callers, f.caller)
	return Invite{Ask: masking.Ask{Call: masking.CallID(fmt.Sprintf("call_%d", f.calls)), Trunk: "one", Called: virtual,
		Caller: alice, Received: time.Now()}, Offer: []byte(f.says), Hops: 60, Leg: f.caller}
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
	holds, releases := f.trace.count("hold"), f.trace.count("release")
	switch {
	case began != ended:
		return fmt.Sprintf("%d calls began and %d ended", began, ended)
	case began > f.calls:
		return "a call began twice"
	case releases != holds:
		return fmt.Sprintf("%d places were taken and %d given back", holds, releases)
	case began > holds:
		return fmt.Sprintf("%d calls began that hold nothing", began-holds)
	case began == 1 && f.trace.index("release") > f.trace.index("note ended"):
		return "the record was closed before the caller was released"
	case f.trace.count("note without zone") > 0:
		return "a note without zone"
	case f.asks && len(f.dialled) > 0 && f.trace.count("note matched") == 0:
		return "somebody was rung without a PIN"
	}
	for _, m := range []string{"matched", "rang", "answered"} {
		if f.trace.count("note "+m) > began {
			return "a call was " + m + " twice"
		}
	}
	for _, s := range f.media.sessions {
		if fault := s.fault(); fault != "" {
			return fault
		}
	}
	for _, l := range append(slices.Clone(f.dialled), f.callers...) {
		if !l.ended() {
			return "leg " + l.name + " was never ended"
		}
	}
	return f.leak()
}

// leak looks for a whole number or a PIN in the log.
func (f *exchange) leak() string {
	for _, n := range []e164.Number{alice, bob, carol, dave, erin} {
		if strings.Contains(f.log.String(), n.National()) {
			return "a number stands in the log"
		}
	}
	if strings.Contains(f.log.String(), rightPIN) {
		return "a PIN stands in the log"
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

// session is the relay opened last.
func (f *exchange) session() *fakeSession {
	f.t.Helper()
	s := f.media.last()
	if s == nil {
		f.t.Fatalf("no media is open: %v", f.trace.all())
	}
	return s
}

// hears is what the caller hears of us now.
func (f *exchange) hears() Sound {
	f.t.Helper()
	return f.session().now(A)
}

// expect fails unless the caller hears this now.
func (f *exchange) expect(s Sound) {
	f.t.Helper()
	if got := f.hears(); got != s {
		f.t.Fatalf("the caller hears %q, not %q: %v", got, s, f.trace.all())
	}
}

// finish lets what the caller hears come to its end.
func (f *exchange) finish(s Sound) {
	f.t.Helper()
	f.expect(s)
	f.session().end(A)
	synctest.Wait()
}

// keys lets the caller press keys in his media, one after the other.
func (f *exchange) keys(all string) {
	for i := range all {
		f.session().press(A, all[i:i+1])
		synctest.Wait()
	}
}
