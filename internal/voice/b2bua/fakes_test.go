package b2bua

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
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

// fakeDirector decides by the real rules on what it knows of one virtual number.
type fakeDirector struct {
	trace   *trace
	mu      sync.Mutex
	route   masking.Route
	pins    []masking.Allocation // those that a PIN opens
	lengths []int                // of PINs, in place of those of pins
	wrong   map[masking.TriesOf]masking.Tries
	entered []masking.PIN
	ruling  *masking.Ruling                       // instead of the rule's
	says    func(r masking.Ruling) masking.Ruling // the tenant's server
	err     error                                 // of Route
	away    error                                 // of Enter and PINLengths
	panicOn string                                // the method that panics
	full    bool                                  // Enter finds no place for another call
	expires time.Time                             // of Expires
	gate    chan struct{}                         // Route waits for it, if set
	judging chan struct{}                         // Enter and Consult wait for it, if set
	why     []masking.Refusal
}

// pass waits for a gate, and then for the turn of the method.
func (d *fakeDirector) pass(ctx context.Context, gate chan struct{}, method string) error {
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if d.panicOn == method {
		panic("director")
	}
	return nil
}

func (d *fakeDirector) Route(ctx context.Context, a masking.Ask) (masking.Ruling, func(), error) {
	if err := d.pass(ctx, d.gate, "route"); err != nil {
		return masking.Ruling{}, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return masking.Ruling{}, nil, d.err
	}
	r := masking.Rule(d.route, a.Caller, time.Now())
	if d.ruling != nil {
		r = *d.ruling
	}
	if r.Refusal != "" && r.Then != masking.AskPIN && r.Then != masking.AskWebhook {
		return r, nil, nil
	}
	d.trace.add("hold")
	return r, func() { d.trace.add("release") }, nil
}

// Consult lets a server that does not answer have the stranger told.
func (d *fakeDirector) Consult(ctx context.Context, _ masking.Ask, r masking.Ruling) masking.Ruling {
	d.trace.add("consult")
	if err := d.pass(ctx, d.judging, "consult"); err != nil || d.says == nil {
		r.Then = masking.Announce
		return r
	}
	return d.says(r)
}

func (d *fakeDirector) Enter(ctx context.Context, a masking.Ask, pin masking.PIN) (masking.Ruling, int, error) {
	if err := d.pass(ctx, d.judging, "enter"); err != nil {
		return masking.Ruling{}, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entered = append(d.entered, pin)
	if d.away != nil {
		return masking.Ruling{}, 0, d.away
	}
	now, known := time.Now(), masking.PINCase{Other: d.wrong[masking.TriesOf{VirtualNumber: virtual, Caller: a.Caller}]}
	known.Number, known.Tenant = d.route.Number, d.route.Tenant
	for _, p := range d.pins {
		if slices.Contains(p.PINs(), pin) {
			known.Found = append(known.Found, p)
		}
		if slices.Contains(p.Parties(), a.Caller) {
			known.Party = append(known.Party, masking.PartyTries{Allocation: p.ID, Most: p.MaxPINAttempts,
				Tries: d.wrong[masking.TriesOf{VirtualNumber: virtual, Allocation: p.ID, Caller: a.Caller}]})
		}
	}
	v := masking.JudgePIN(known, a.Caller, pin, now)
	for _, k := range v.Count {
		d.wrong[k] = masking.Tries{Wrong: d.wrong[k].Wrong + 1, Last: now}
	}
	if d.full && v.Refusal == "" {
		return masking.Ruling{Refusal: masking.RefusedAllocationLimit}, 0, nil
	}
	return masking.Ruling{Plan: v.Plan, Refusal: v.Refusal}, v.Left, nil
}

func (d *fakeDirector) PINLengths(context.Context, masking.Ask) (lengths []int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away != nil || d.lengths != nil {
		return d.lengths, d.away
	}
	for _, a := range d.pins {
		for _, p := range a.PINs() {
			lengths = append(lengths, len(p.Reveal()))
		}
	}
	return lengths, nil
}

func (d *fakeDirector) Expires(context.Context, masking.TenantID, masking.AllocationID) (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.panicOn == "expires" {
		panic("director")
	}
	return d.expires, d.away
}

func (d *fakeDirector) Refused(_ masking.Ask, _ masking.Plan, why masking.Refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = append(d.why, why)
}

// entries are the PINs that were judged.
func (d *fakeDirector) entries() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.entered {
		all = append(all, p.Reveal())
	}
	return all
}

func (d *fakeDirector) setTo(to ...e164.Number) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, all := range [][]masking.Allocation{d.route.Found, d.pins} {
		for i := range all {
			all[i].To = to
		}
	}
}

// fakeJournal keeps what is noted.
type fakeJournal struct {
	trace *trace
	mu    sync.Mutex
	notes []note
	kept  map[masking.CallID][]func() ([]byte, error) // states, the last one last
}

// Keep keeps a state. It is no moment, so the trace says nothing of it.
func (j *fakeJournal) Keep(c masking.Call, encode func() ([]byte, error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.kept == nil {
		j.kept = map[masking.CallID][]func() ([]byte, error){}
	}
	j.kept[c.ID] = append(j.kept[c.ID], encode)
}

type note struct {
	moment masking.Moment
	call   masking.Call
}

var momentNames = []string{"began", "matched", "rang", "answered", "taped", "ended"}

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
	mu     sync.Mutex
	asked  []e164.Number
}

func (f *fakeTrunks) Outgoing(callerID e164.Number) []Trunk {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, callerID)
	return slices.Clone(f.trunks)
}

// fakeTrunk dials fakeLegs and keeps them.
type fakeTrunk struct {
	name  string
	srtp  masking.SRTP
	ex    *exchange
	room  time.Duration // until it is known whether it has any
	panic bool
}

func (f *fakeTrunk) Name() string { return f.name }

func (f *fakeTrunk) SRTP() masking.SRTP { return f.srtp }

func (f *fakeTrunk) Dial(d Dial) Leg {
	if f.panic {
		panic("trunk")
	}
	if f.room > 0 {
		<-time.After(f.room)
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
	mute    bool   // it has no state
	panicOn string // the method that panics
	rings   int
	early   []string // descriptions for what is heard before the answer
	answers []string
	refused int
	offers  []string
	pressed string
	ends    []Reason
	gone    bool

	abandoned bool
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

// State is the leg's name.
func (l *fakeLeg) State() any {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mute {
		return nil
	}
	return l.name
}

func (l *fakeLeg) Abandon() {
	l.mu.Lock()
	l.trace.add("%s abandon", l.name)
	l.abandoned = true
	l.mu.Unlock()
	l.vanish()
}

func (l *fakeLeg) Ring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trip("ring")
	l.rings++
	l.trace.add("%s ring", l.name)
}

func (l *fakeLeg) Speak(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trip("speak")
	l.early = append(l.early, string(body))
	l.trace.add("%s speak", l.name)
}

func (l *fakeLeg) Press(digit byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pressed += string(rune(digit))
	l.trace.add("%s press", l.name)
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

func (l *fakeLeg) Offer(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trip("offer")
	l.offers = append(l.offers, string(body))
	l.trace.add("%s offer", l.name)
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
