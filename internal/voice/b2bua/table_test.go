package b2bua

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

var update = flag.Bool("update", false, "write docs/call-states.md anew")

const statesPage = "../../../docs/call-states.md"

func TestThePageOfStatesIsTheTable(t *testing.T) {
	var page bytes.Buffer
	page.WriteString("# The states of a call\n\nWhat a call does about each event, and the state it is in afterwards; " +
		"an empty field means that the event is ignored, since it comes of two messages that crossed (an offer is refused).\n\n")
	writeTable(&page, "event", stateNames[Asking:Over], eventNames[:], func(k, s int) (do string, to []string) {
		step := table[Asking+State(s)][EventKind(k)]
		for _, t := range step.to {
			to = append(to, t.String())
		}
		return actionNames[step.do], to
	})
	page.WriteString("\n## Offers and answers of a call that talks\n\nWhere they can stand, what can come, what is done about it, and where they stand then. " +
		"*Settled*: no offer waits for an answer of the other side. *Carried*: a side's offer has been taken to the other side, for whose answer it waits. " +
		"*Voided*: the same, but the side has taken its offer back. *Following*: an offer of our own is out. " +
		"An empty field cannot come, and is ignored. Where no offer is open afterwards, nor an ACK to come that brings an answer, what waits is taken up, and then a side is told whose stream has become another one meanwhile. That a leg has one offer open at a time, and 491 or 500 for a second one, is the leg's affair.\n\n")
	writeTable(&page, "what comes", dealingNames[:], moveNames[:], func(m, d int) (do string, to []string) {
		step := deals[d][move(m)]
		for _, t := range step.to {
			to = append(to, dealingNames[t])
		}
		return dealActNames[step.do], to
	})
	if *update {
		if err := os.WriteFile(statesPage, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(statesPage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, page.Bytes()) {
		t.Error("docs/call-states.md is not what the table says; write it anew with go test ./internal/voice/b2bua -run States -update")
	}
}

// writeTable writes what is done about each row in each column, and where that
// leads; nowhere is an empty field.
func writeTable(page *bytes.Buffer, corner string, columns, rows []string, cell func(row, column int) (do string, to []string)) {
	fmt.Fprintf(page, "| %s | %s |\n|%s\n", corner, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)+1))
	for i, row := range rows {
		fmt.Fprintf(page, "| %s |", row)
		for j := range columns {
			if do, to := cell(i, j); len(to) > 0 {
				fmt.Fprintf(page, " %s → %s |", do, strings.Join(to, " or "))
			} else {
				page.WriteString(" |")
			}
		}
		page.WriteString("\n")
	}
}

// drive makes a call without its goroutine: the test hands it one event after
// the other. Its legs never say Gone by themselves.
func drive(t *testing.T, f *exchange) *call {
	f.slow = true
	in := f.invite()
	f.caller.slow = true
	c := newCall(f.Exchange, in)
	t.Cleanup(c.disarm)
	return c
}

var (
	rings      = Event{Kind: EvRinging, Side: B, Attempt: 1}
	answers    = Event{Kind: EvAnswered, Side: B, Attempt: 1, Body: []byte(answerOfB)}
	fails      = Event{Kind: EvFailed, Side: B, Attempt: 1, Cause: masking.CauseBusy}
	failsToo   = Event{Kind: EvFailed, Side: B, Attempt: 2, Cause: masking.CauseNoAnswer}
	answersToo = Event{Kind: EvAnswered, Side: B, Attempt: 2, Body: []byte(answerOfB)}
	hangsUp    = Event{Kind: EvHungUp, Side: A}
	goneA      = Event{Kind: EvGone, Side: A}
	goneB      = Event{Kind: EvGone, Side: B, Attempt: 1}
)

// typing is a caller who presses keys.
func typing(keys string, then ...Event) (path []Event) {
	for i := range len(keys) {
		path = append(path, Event{Kind: EvDigit, Digit: keys[i]})
	}
	return append(path, then...)
}

// silence is the end of the wait for a key.
var silence = Event{Kind: EvDigitTime}

// current gives an event of a timer or of our own words the number that is current.
func current(c *call, e Event) Event {
	switch {
	case e.Kind >= EvRingTime && e.Kind <= EvLifeTime:
		e.Attempt = c.timer(e.Kind).setting
	case e.Kind == EvExpiry:
		e.Attempt = c.timer(EvLifeTime).setting
	case e.Kind == EvPlayed:
		e.Attempt = c.spoken[e.Side]
	}
	return e
}

// way leads to a state from the first INVITE on.
type way struct {
	kind kind
	path []Event
}

var ways = map[State][]way{
	Asking: {{asked, nil}, {asked, typing("482")}, {asked, typing(rightPIN)}, {asked, typing("1#2#" + rightPIN[:5])},
		{asked, []Event{silence}}},
	Dialing: {{together, nil}, {together, []Event{rings, fails}}, {pinned, typing(rightPIN + "#")}, {routed, nil}, {routed, []Event{fails}}, {routed, []Event{rings, fails}}, {asked, typing(rightPIN + "#")},
		{asked, typing(rightPIN+"#", fails)}},
	Ringing: {{together, []Event{rings}}, {together, []Event{rings, {Kind: EvRinging, Side: B, Attempt: 2}}},
		{pinned, typing(rightPIN+"#", rings)}, {routed, []Event{rings}}, {routed, []Event{rings, fails, {Kind: EvRinging, Side: B, Attempt: 2}}},
		{asked, typing(rightPIN+"#", fails, Event{Kind: EvRinging, Side: B, Attempt: 2})}},
	Talking: {{together, []Event{answersToo}}, {together, []Event{fails, answersToo}}, {pinned, typing(rightPIN+"#", answersToo)},
		{routed, []Event{answers}}, {routed, []Event{rings, fails, answersToo}}, {asked, typing(rightPIN+"#", answers)},
		{noticed, []Event{answers}}},
	Parting: {{announced, nil}, {asked, typing("1#2#3#")}, {asked, typing(rightPIN+"#", fails, failsToo)}},
	Ending: {{together, []Event{hangsUp}}, {routed, []Event{hangsUp}}, {routed, []Event{answers, hangsUp}}, {routed, []Event{answers, hangsUp, goneA}},
		{asked, []Event{hangsUp}}, {rejected, nil}},
	Over: {{routed, []Event{hangsUp, goneA, goneB}}, {asked, []Event{goneA}}},
}

// muteWays lead there from an INVITE without offer.
var muteWays = map[State][]way{
	Asking:  {{asked, nil}},
	Dialing: {{asked, typing(rightPIN + "#")}},
	Ringing: {{asked, typing(rightPIN+"#", rings)}},
	Talking: {{routed, []Event{answers}}},
	Parting: {{asked, typing("1#2#3#")}},
}

// variants are the events of a kind that a call can meet.
func variants(c *call) []Event {
	all := []Event{goneB, fails, {Kind: EvAnswered, Side: B, Attempt: 1, Body: []byte("?")}} // of the first number's leg
	for k := range eventKinds {
		for _, s := range []Side{A, B} {
			e := Event{Kind: k, Side: s, Allocation: c.plan.Allocation.ID}
			if s == B {
				e.Attempt = c.attempt
			}
			e = current(c, e)
			all = append(all, e)
			switch k {
			case EvAnswered, EvOffered, EvAgreed:
				for _, body := range []string{"?", answerOfB, offerOfA} {
					e.Body = []byte(body)
					all = append(all, e)
				}
			case EvFailed:
				e.Retry = true
				all = append(all, e)
			case EvMet:
				e.Guest = guestOf(c)
				all = append(all, e)
			case EvExpiry:
				e.Until = time.Now()
				all = append(all, e)
			}
		}
	}
	for _, key := range "0#*A" {
		all = append(all, Event{Kind: EvDigit, Digit: byte(key)}, Event{Kind: EvDigit, Digit: byte(key), By: ByInfo})
	}
	return all
}

func TestEveryStateDoesWithEveryEventWhatTheTableSays(t *testing.T) {
	type cell struct {
		from State
		by   EventKind
		to   State
	}
	reached := map[cell]bool{}
	for from := range ways {
		for way, w := range slices.Concat(ways[from], muteWays[from]) {
			for i := range variants(&call{}) {
				for _, silent := range []bool{false, true} { // for an hour, and cut by a restart
					if silent && from != Talking {
						continue
					}
					f := newKind(t, w.kind)
					if way >= len(ways[from]) {
						f.says = ""
					}
					c := drive(t, f)
					c.route()
					for _, e := range w.path {
						c.handle(current(c, e))
					}
					if c.state != from {
						t.Fatalf("%v of %v leads to %v, not to %v", w.path, w.kind, c.state, from)
					}
					if silent {
						c.answeredAt, c.quiet = c.answeredAt.Add(-5*time.Hour), c.quiet.Add(-5*time.Hour)
						c.warned.life, c.cut = true, true
					}
					e := variants(c)[i]
					before := f.trace.all()
					c.handle(e)
					c.disarm()
					if c.state != from || slices.Contains(table[from][e.Kind].to, from) {
						reached[cell{from, e.Kind, c.state}] = true
					}
					checkStep(t, from, e, c.state)
					if _, known := table[from][e.Kind]; !known && e.Kind != EvOffered && len(f.trace.all()) != len(before) {
						t.Errorf("%v in %v did %v", e.Kind, from, f.trace.all()[len(before):])
					}
				}
			}
		}
	}
	for from := range table {
		for k, s := range table[from] {
			for _, to := range s.to {
				if !reached[cell{State(from), k, to}] {
					t.Errorf("the table says that %v leads from %v to %v; nothing does", k, State(from), to)
				}
			}
		}
	}
}

// guestOf is a call of Bob's for the caller of c.
func guestOf(c *call) *guest {
	leg := &fakeLeg{name: "G", slow: true}
	if caller, ok := c.in.Leg.(*fakeLeg); ok {
		leg.trace = caller.trace
	}
	l := &line{to: func(Event) {}}
	leg.Bind(l.tell, nil)
	offer, _ := sdp.Parse([]byte(offerOfA))
	return &guest{call: "call_g", caller: bob, leg: leg, line: l, offer: offer, gaveUp: new(atomic.Bool), release: func() {}, joined: make(chan bool, 1)}
}

func checkStep(t *testing.T, from State, e Event, to State) {
	t.Helper()
	if !documented(from, e.Kind, to) {
		t.Errorf("%v by side %d leads from %v to %v", e.Kind, e.Side, from, to)
	}
}

// documented reports whether the table lets an event lead from one state to another.
func documented(from State, k EventKind, to State) bool {
	return from == to || slices.Contains(table[from][k].to, to)
}

func TestWhatASideCannotSayOrANumberOfBeforeIsIgnored(t *testing.T) {
	c := drive(t, newKind(t, routed))
	c.route()
	c.handle(fails) // now the second number
	for _, e := range []Event{
		{Kind: EvRinging, Side: A}, {Kind: EvAnswered, Side: A, Body: []byte(answerOfB)}, {Kind: EvFailed, Side: A},
		{Kind: EvCancelled, Side: B, Attempt: 2}, {Kind: EvRingTime, Attempt: 1}, {Kind: EvRingTime}, answers, rings, fails,
		{Kind: EvTotalTime}, {Kind: EvMediaCheck, Attempt: 1}, {Kind: EvDigitTime, Attempt: 1}, {Kind: EvPlayed, Attempt: 1},
		{Kind: EvAllocEnded, Allocation: "gvn_2"}, {Kind: EvTerminate},
	} {
		if c.handle(e); c.state != Dialing || c.attempt != 2 {
			t.Fatalf("%v of side %d leads to %v, attempt %d", e.Kind, e.Side, c.state, c.attempt)
		}
	}
}
