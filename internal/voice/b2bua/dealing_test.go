package b2bua

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Events that lead a call of Alice's and Bob's from one place of its offers to another.
var (
	offersA  = Event{Kind: EvOffered, Side: A, Body: []byte(offerOfA)}
	holdsA   = Event{Kind: EvOffered, Side: A, Body: []byte(with(offerOfA, "sendonly"))}
	asksA    = Event{Kind: EvOffered, Side: A}
	acksA    = Event{Kind: EvAgreed, Side: A, Body: []byte(offerOfA)}
	acksHold = Event{Kind: EvAgreed, Side: A, Body: []byte(with(offerOfA, "sendonly"))}
	acksNone = Event{Kind: EvDeclined, Side: A}
	undoesA  = Event{Kind: EvWithdrawn, Side: A}
	undoesB  = Event{Kind: EvWithdrawn, Side: B, Attempt: 1}
	offersB  = Event{Kind: EvOffered, Side: B, Attempt: 1, Body: []byte(answerOfB)}
	holdsB   = Event{Kind: EvOffered, Side: B, Attempt: 1, Body: []byte(with(answerOfB, "sendonly"))}
	asksB    = Event{Kind: EvOffered, Side: B, Attempt: 1}
	agreesB  = Event{Kind: EvAgreed, Side: B, Attempt: 1, Body: []byte(with(answerOfB, "recvonly"))}
	nonsense = Event{Kind: EvAgreed, Side: B, Attempt: 1, Body: []byte("?")}
	upgradeA = Event{Kind: EvOffered, Side: A, Body: []byte(strings.Replace(offerOfA, "AVP 8", "AVP 9 8", 1))}
	staysB   = Event{Kind: EvAgreed, Side: B, Attempt: 1, Body: []byte(answerOfB)}
	refusesB = Event{Kind: EvDeclined, Side: B, Attempt: 1}
)

var dealWays = map[dealing][][]Event{
	settled: {nil, {asksA}, {asksB}, {offersA}, {asksB, holdsA}, {asksA, asksB, acksHold}, {holdsA, agreesB}, {holdsA, agreesB, asksA, asksB, acksA}},
	carried: {{holdsA}, {offersB, holdsA}, {holdsA, asksB}},
	voided:  {{holdsA, undoesA}, {upgradeA, undoesA}, {offersB, holdsA, undoesA}, {holdsA, asksB, undoesA}},
	following: {{asksA, acksHold}, {asksA, acksHold, asksA}, {asksA, acksHold, offersA}, {asksB, asksA, acksHold, staysB},
		{offersB, asksA, acksHold}, {offersA, asksA, acksHold}, {holdsA, agreesB, undoesA}},
}

// deals has a call deal with an event, and tells what it is to it and what is wrong
// then.
func (c *call) deals(e Event) (m move, fault string) {
	from, inAck := c.deal.at, c.deal.inAck
	waits := len(c.deal.later) > 0 || c.deal.recheck != [2]bool{} // and may be taken up
	e.read()
	m = c.moveOf(e)
	c.deal.inAck = inAck
	c.handle(e)
	step, known := deals[from][m]
	if !waits && (!known && c.deal.at != from || known && !slices.Contains(step.to, c.deal.at)) {
		return m, fmt.Sprintf("%v by side %d leads from %s to %s", e.Kind, e.Side, dealingNames[from], dealingNames[c.deal.at])
	}
	return m, c.deal.fault()
}

func TestEveryOfferIsDealtWithAsTheTableSays(t *testing.T) {
	type cell struct {
		from dealing
		by   move
		to   dealing
	}
	reached := map[cell]bool{}
	all := []Event{offersA, holdsA, asksA, acksA, acksHold, acksNone, undoesA, undoesB, offersB, holdsB, asksB, agreesB, staysB, nonsense, refusesB, upgradeA,
		{Kind: EvOffered, Side: A, Body: []byte("?")}, {Kind: EvOffered, Side: A, Body: []byte(offerOfWords)}}
	for from, paths := range dealWays {
		for _, path := range paths {
			for _, e := range all {
				c := drive(t, newKind(t, routed))
				c.route()
				for _, e := range append([]Event{answers}, path...) {
					c.handle(e)
				}
				if c.deal.at != from {
					t.Fatalf("%v leads to %s, not to %s", path, dealingNames[c.deal.at], dealingNames[from])
				}
				m, fault := c.deals(e)
				c.disarm()
				if fault != "" {
					t.Error(fault)
				}
				reached[cell{from, m, c.deal.at}] = true
			}
		}
	}
	for from := range deals {
		for m, s := range deals[from] {
			for _, to := range s.to {
				if !reached[cell{dealing(from), m, to}] {
					t.Errorf("the table says that %q leads from %s to %s; nothing does", moveNames[m], dealingNames[from], dealingNames[to])
				}
			}
		}
	}
}
