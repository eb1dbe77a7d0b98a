package b2bua

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"tandem/internal/masking"
)

var update = flag.Bool("update", false, "write docs/call-states.md anew")

const statesPage = "../../../docs/call-states.md"

func TestThePageOfStatesIsTheTable(t *testing.T) {
	var page bytes.Buffer
	page.WriteString("# The states of a call\n\nWhat a call does about each event, and the state it is in afterwards; " +
		"an empty field means that the event is ignored, since it comes of two messages that crossed (an offer is refused).\n\n")
	if err := WriteTable(&page); err != nil {
		t.Fatal(err)
	}
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

// drive makes a call without its goroutine: the test hands it one event after
// the other. Its legs never say Gone by themselves.
func drive(t *testing.T) (*exchange, *call) {
	f := newExchange(t, bob, carol)
	f.slow = true
	in := f.invite()
	f.caller.slow = true
	c := newCall(f.Exchange, in)
	t.Cleanup(c.disarm)
	return f, c
}

var (
	rings   = Event{Kind: EvRinging, Side: B, Attempt: 1}
	answers = Event{Kind: EvAnswered, Side: B, Attempt: 1, Body: []byte(answerOfB)}
	fails   = Event{Kind: EvFailed, Side: B, Attempt: 1, Cause: masking.CauseBusy}
	hangsUp = Event{Kind: EvHungUp, Side: A}
)

// ways lead to each state from the first INVITE on.
var ways = map[State][][]Event{
	Dialing: {{}, {fails}, {rings, fails}},
	Ringing: {{rings}, {rings, fails, {Kind: EvRinging, Side: B, Attempt: 2}}},
	Talking: {{answers}, {rings, fails, {Kind: EvAnswered, Side: B, Attempt: 2, Body: []byte(answerOfB)}}},
	Ending:  {{hangsUp}, {answers, hangsUp}, {answers, hangsUp, {Kind: EvGone, Side: A}}},
	Over:    {{hangsUp, {Kind: EvGone, Side: A}, {Kind: EvGone, Side: B, Attempt: 1}}},
}

// variants are the events of a kind that a call can meet.
func variants(c *call) []Event {
	all := []Event{{Kind: EvGone, Side: B, Attempt: 1}} // of the first number's leg
	for k := range eventKinds {
		for _, s := range []Side{A, B} {
			for _, body := range []string{"", "?", answerOfB, offerOfA} {
				for _, retry := range []bool{false, true} {
					e := Event{Kind: k, Side: s, Body: []byte(body), Retry: retry, Allocation: c.plan.Allocation.ID}
					switch {
					case k == EvRingTime:
						e.Attempt = c.number
					case s == B:
						e.Attempt = c.attempt
					}
					all = append(all, e)
				}
			}
		}
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
	for from, paths := range ways {
		for _, path := range paths {
			for i := range variants(&call{}) {
				for _, silent := range []bool{false, true} {
					f, c := drive(t)
					c.route()
					for _, e := range path {
						c.handle(e)
					}
					if c.state != from {
						t.Fatalf("%v leads to %v, not to %v", path, c.state, from)
					}
					if silent {
						c.answeredAt, c.quiet = c.answeredAt.Add(-time.Hour), c.quiet.Add(-time.Hour)
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
	_, c := drive(t)
	c.route()
	c.handle(fails) // now the second number
	for _, e := range []Event{
		{Kind: EvRinging, Side: A}, {Kind: EvAnswered, Side: A, Body: []byte(answerOfB)}, {Kind: EvFailed, Side: A},
		{Kind: EvCancelled, Side: B, Attempt: 2}, {Kind: EvRingTime, Attempt: 1}, {Kind: EvRingTime}, answers, rings, fails,
		{Kind: EvAllocEnded, Allocation: "gvn_2"}, {Kind: EvTerminate},
	} {
		if c.handle(e); c.state != Dialing || c.attempt != 2 {
			t.Fatalf("%v of side %d leads to %v, attempt %d", e.Kind, e.Side, c.state, c.attempt)
		}
	}
}
