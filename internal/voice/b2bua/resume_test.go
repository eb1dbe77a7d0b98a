package b2bua

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// restart is an exchange that goes on with the one call of another, which is dead.
type restart struct {
	*exchange
	callee   *fakeLeg
	released int
	state    []byte // what is kept of the call then
}

// talked is the record and the state of a call that talks.
func (f *exchange) talked() (masking.Call, []byte) {
	f.t.Helper()
	record := f.journal.of(masking.Answered)[0]
	kept := f.journal.kept[record.ID]
	if len(kept) == 0 {
		f.t.Fatalf("nothing is kept of the call: %v", f.trace.all())
	}
	state, err := kept[len(kept)-1]()
	if err != nil {
		f.t.Fatal(err)
	}
	return record, state
}

// die ends the process of a call without a word.
func (f *exchange) die() {
	for _, c := range f.book.all() {
		c.flood()
	}
	synctest.Wait()
}

// restarted takes the call up again, after a while in which nothing ran.
func (f *exchange) restarted(down time.Duration, cut bool) *restart {
	f.t.Helper()
	return f.again(down, cut, false)
}

// overtaken takes the call up at another node, with ports of its own.
func (f *exchange) overtaken() *restart {
	f.t.Helper()
	return f.again(masking.Lease, false, true)
}

func (f *exchange) again(down time.Duration, cut, moved bool) *restart {
	f.t.Helper()
	record, state := f.talked()
	f.die()
	wait(down)
	g := f.takenUp(record, state, down, cut, moved)
	if n := len(g.caller.offers) + len(g.callee.offers) + len(g.callee.ends); n != 0 {
		f.t.Error("something was said before anything can be")
	}
	g.Verify()
	synctest.Wait()
	return g
}

// takenUp is the call in another exchange, before its sides are asked.
func (f *exchange) takenUp(record masking.Call, state []byte, down time.Duration, cut, moved bool) *restart {
	f.t.Helper()
	st, err := ReadState(state)
	if err != nil {
		f.t.Fatal(err)
	}
	g := &restart{exchange: newExchange(f.t, bob), callee: &fakeLeg{name: "B", trunk: "one"}}
	g.calls = 1
	g.caller = &fakeLeg{name: "A", trace: g.trace}
	g.callee.trace = g.trace
	g.dialled = []*fakeLeg{g.callee}
	r := Resumed{Call: record, Plan: f.director.route.ForwardPlan(bob, alice), State: st, Legs: [2]Leg{g.caller, g.callee},
		Release: func() { g.released++ }, Until: time.Now().Add(-down)}
	if moved {
		g.media.port = 5000
	}
	r.Plan.Allocation = f.director.route.Found[0]
	if !cut {
		if r.Media, err = g.media.Open(); err != nil {
			f.t.Fatal(err)
		}
	}
	if g.state, err = g.Resume(r); err != nil {
		f.t.Fatal(err)
	}
	return g
}

// over is the record of the end of the resumed call.
func (g *restart) over(cause masking.Cause) masking.Call {
	g.t.Helper()
	synctest.Wait()
	ended := g.journal.of(masking.Ended)
	if g.Live() != 0 || len(ended) != 1 || g.released != 1 {
		g.t.Fatalf("%d calls up, %d records of the end, %d releases: %v", g.Live(), len(ended), g.released, g.trace.all())
	}
	if ended[0].Cause != cause {
		g.t.Errorf("ended as %s, not as %s", ended[0].Cause, cause)
	}
	for _, l := range []*fakeLeg{g.caller, g.callee} {
		if !l.ended() {
			g.t.Errorf("leg %s was not ended", l.name)
		}
	}
	if s := g.media.last(); s != nil && s.closed != 1 {
		g.t.Error("its media is not closed")
	}
	if leak := g.leak(); leak != "" {
		g.t.Error(leak)
	}
	return ended[0]
}

func TestACallThatTalksIsKeptAtItsAnswerAndAtEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.call()
		f.tell(f.b(1), Event{Kind: EvRinging})
		if len(f.journal.kept) != 0 {
			t.Error("a call that rings is kept")
		}
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		id := f.journal.of(masking.Answered)[0].ID
		kept := func() int { return len(f.journal.kept[id]) }
		if kept() != 1 {
			t.Errorf("kept %d times at the answer", kept())
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(strings.Replace(offerOfA, "m=audio 40000", "m=audio 40004", 1))})
		if kept() != 2 {
			t.Errorf("kept %d times after an offer", kept())
		}
		f.tell(f.b(1), Event{Kind: EvMoved})
		if kept() != 3 {
			t.Errorf("kept %d times after a side has moved", kept())
		}
		wait(12 * time.Second)
		f.tell(f.caller, Event{Kind: EvDigit, Digit: '5', By: ByInfo})
		if kept() != 3 {
			t.Error("kept although nothing has changed")
		}
		f.b(1).mute = true // it has just gone
		f.tell(f.caller, Event{Kind: EvMoved})
		if kept() != 3 {
			t.Error("a call is kept without a leg")
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestAResumedCallIsTheSameAndGoesOnToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		said := [2]string{A: f.caller.answers[0], B: string(f.b(1).dial.Offer)}
		streams := [2]Stream{f.session().peer(A), f.session().peer(B)}
		wait(10 * time.Second)
		g := f.restarted(3*time.Second, false)
		before, after := CallState{}, CallState{}
		_, state := f.talked()
		if json.Unmarshal(state, &before) != nil || json.Unmarshal(g.state, &after) != nil ||
			before.Sides[A].Sent != after.Sides[A].Sent || before.Sides[B].Sent != after.Sides[B].Sent || !before.Received.Equal(after.Received) {
			t.Errorf("kept as %s\nand then as %s", state, g.state)
		}
		s := g.session()
		if s.peer(A) != streams[A] || s.peer(B) != streams[B] {
			t.Errorf("the sides are connected as %+v and %+v", s.peer(A), s.peer(B))
		}
		if !slices.Contains(g.caller.hidden, bob) || slices.Contains(g.caller.hidden, alice) ||
			!slices.Contains(g.callee.hidden, alice) || slices.Contains(g.callee.hidden, bob) {
			t.Errorf("hidden are %v and %v", g.caller.hidden, g.callee.hidden)
		}
		for i, l := range []*fakeLeg{g.caller, g.callee} { // one after the other
			if len(l.offers) != 1 || l.offers[0] != said[i] {
				t.Errorf("leg %s is asked with %q, not once with %q", l.name, l.offers, said[i])
			}
			g.tell(l, [2]Event{{Kind: EvDeclined, Status: 488}, {Kind: EvAgreed, Body: []byte(answerOfB)}}[i])
		}
		if !slices.Equal(s.trusted, []Side{A, B}) {
			t.Errorf("trusted are %v", s.trusted)
		}
		wait(20 * time.Second)
		g.tell(g.callee, Event{Kind: EvHungUp})
		record := g.over(masking.CauseCalleeHungUp)
		if record.TalkTime != 33*time.Second || record.RingTime != f.journal.of(masking.Answered)[0].RingTime {
			t.Errorf("talked %v, rang %v", record.TalkTime, record.RingTime)
		}
		if n := len(g.journal.of(masking.Answered)) + len(g.journal.of(masking.Began)); n != 0 {
			t.Errorf("%d moments are told again", n)
		}
	})
}

// A side put the call on hold, and the process died before the other side was told.
func TestWhatASideHasChangedInTheRestartIsToldToTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		g := f.restarted(time.Second, false)
		g.tell(g.caller, Event{Kind: EvAgreed, Body: []byte(strings.Replace(offerOfA, "a=sendrecv", "a=sendonly", 1))})
		g.tell(g.callee, Event{Kind: EvAgreed, Body: []byte(answerOfB)})
		if len(g.callee.offers) != 2 || audioOf(t, g.callee.offers[1]).Direction != sdp.SendOnly {
			t.Errorf("the callee is offered %q", g.callee.offers)
		}
		g.tell(g.caller, Event{Kind: EvHungUp})
		g.over(masking.CauseCallerHungUp)
	})
}

// Keys hide from encoders, and are kept all the same.
// Where the sides send from, by which they are known after a restart, is not there
// before they do.
func TestACallIsKeptOnceMoreWhenBothSidesHaveBeenHeardSinceTheLastChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		id := f.journal.of(masking.Answered)[0].ID
		kept := func() int { return len(f.journal.kept[id]) }
		heard := func(sides ...Side) {
			for range 3 { // checks
				for _, s := range sides {
					f.session().hear(s)
				}
				wait(5 * time.Second)
			}
		}
		heard(A)
		if kept() != 1 {
			t.Errorf("kept %d times though B has not been heard", kept())
		}
		heard(A, B)
		if kept() != 2 {
			t.Errorf("kept %d times while both are heard", kept())
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(strings.Replace(offerOfA, "m=audio 40000", "m=audio 40004", 1))})
		heard(B)
		if kept() != 3 {
			t.Errorf("kept %d times though A has not been heard at its new place", kept())
		}
		heard(A, B)
		if kept() != 4 {
			t.Errorf("kept %d times, A and B having been heard since the offer", kept())
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestTheKeysOfACallAreKept(t *testing.T) {
	keys := sdp.NewKeys()
	theirs := &sdp.Description{Media: []sdp.Media{{Type: "audio", Crypto: []sdp.Crypto{{Tag: 1, Key: sdp.Key("one")}, {Tag: 2, Key: sdp.Key("two")}}}}}
	n := negotiated{theirs: theirs, keys: &keys, sent: []byte(answerOfB), told: told{said: []byte(answerOfB),
		ours: &sdp.Description{Media: []sdp.Media{{Type: "audio", Proto: "RTP/SAVP", Addr: netip.MustParseAddrPort("192.0.2.1:4000"), Crypto: []sdp.Crypto{{Tag: 1}}}}}}}
	text, err := json.Marshal(n.state())
	if err != nil {
		t.Fatal(err)
	}
	var st SideState
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	again, err := st.negotiated()
	if err != nil || string(again.theirs.Media[0].Crypto[1].Key) != "two" || again.keys == nil || string(again.keys[0]) != string(keys[0]) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestASideThatIsNotThereAfterARestartEndsTheCallAsLost(t *testing.T) {
	for _, side := range []Side{A, B} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			wait(10 * time.Second)
			g := f.restarted(time.Minute, false)
			wait(5 * time.Second)
			g.tell([]*fakeLeg{g.caller, g.callee}[side.other()], Event{Kind: EvDeclined}) // could not be asked
			if len(g.session().trusted) != 0 {
				t.Error("a side that was not reached is trusted")
			}
			g.tell([]*fakeLeg{g.caller, g.callee}[side], Event{Kind: EvHungUp, Cause: masking.CauseFailed})
			// He was gone before anybody could hear it: the outage was no talk, nor what followed.
			if r := g.over(masking.CauseNodeLost); r.TalkTime != 10*time.Second {
				t.Errorf("talked %v", r.TalkTime)
			}
		})
	}
}

func TestAResumedCallEndsLikeAnyOther(t *testing.T) {
	for name, end := range map[masking.Cause]func(*restart){
		masking.CauseCallerHungUp:    func(g *restart) { g.tell(g.caller, Event{Kind: EvHungUp}) },
		masking.CauseAllocationEnded: func(g *restart) { g.AllocationEnded("gvn_1", true) },
		masking.CauseMediaTimeout:    func(*restart) { wait(time.Minute) },
		masking.CauseShutdown: func(g *restart) {
			ctx, cancel := context.WithCancel(g.t.Context())
			cancel()
			g.Drain(ctx)
		},
		masking.CauseFailed: func(g *restart) {
			g.tell(g.caller, Event{Kind: EvAgreed, Body: []byte(offerOfA)})
			g.tell(g.caller, Event{Kind: EvHungUp, Cause: masking.CauseFailed})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			g := f.restarted(time.Second, false)
			end(g)
			g.over(name)
		})
	}
}

func TestACallWhoseMediaIsGoneAfterARestartIsHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		wait(10 * time.Second)
		g := f.restarted(time.Hour, true)
		var before, after CallState
		_, state := f.talked()
		if json.Unmarshal(state, &before) != nil || json.Unmarshal(g.state, &after) != nil || string(before.Media) != string(after.Media) {
			t.Errorf("kept as %s\nand then as %s", state, g.state)
		}
		if r := g.over(masking.CauseNodeLost); r.TalkTime != 10*time.Second {
			t.Errorf("talked %v", r.TalkTime)
		}
	})
}

func TestManyResumedCallsAreAskedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		record, state := f.talked()
		f.die()
		g := newExchange(t, bob)
		var legs []*fakeLeg
		for range 100 {
			st, err := ReadState(state)
			media, err2 := g.media.Open()
			a, b := &fakeLeg{name: "A", trace: g.trace}, &fakeLeg{name: "B", trace: g.trace}
			legs = append(legs, a)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if _, err := g.Resume(Resumed{Call: record, State: st, Legs: [2]Leg{a, b}, Media: media, Release: func() {},
				Plan: masking.Plan{Tenant: f.director.route.Tenant, Targets: []e164.Number{bob}}}); err != nil {
				t.Fatal(err)
			}
		}
		g.Verify()
		asked := func() (n int) {
			for _, l := range legs {
				l.mu.Lock()
				n += len(l.offers)
				l.mu.Unlock()
			}
			return n
		}
		wait(0)
		if n := asked(); n != 1 {
			t.Errorf("%d are asked at once", n)
		}
		wait(time.Second)
		if n := asked(); n != 51 {
			t.Errorf("%d are asked within a second", n)
		}
		wait(time.Second)
		if n := asked(); n != 100 {
			t.Errorf("%d are asked in all", n)
		}
		g.die()
	})
}

func TestAStateThatIsNotOursIsNotRead(t *testing.T) {
	for _, text := range []string{"", "{", `{"v":2}`, `{"v":1}`, `{"v":1,"sides":[{"theirs":{}},{}]}`, "[1]"} {
		if _, err := ReadState([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	f := newExchange(t, bob)
	st, err := ReadState([]byte(`{"v":1,"sides":[{"theirs":{},"sent":"?"},{"theirs":{}}],"legs":["A","B"]}`))
	if err != nil {
		t.Fatal(err)
	}
	legs := [2]Leg{&fakeLeg{name: "A", trace: f.trace}, &fakeLeg{name: "B", trace: f.trace}}
	if _, err := f.Resume(Resumed{State: st, Legs: legs, Release: func() {}}); err == nil || f.Live() != 0 {
		t.Error("a call with a description that cannot be read was resumed")
	}
}

func TestACallThatCannotGoOnLeavesNoTimerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		record, state := f.talked()
		f.die()
		st, err := ReadState(state)
		if err != nil {
			t.Fatal(err)
		}
		g := newExchange(t, bob)
		a, b := &fakeLeg{name: "A", trace: g.trace}, &fakeLeg{name: "B", trace: g.trace, mute: true} // B has just gone
		c := newCall(g.Exchange, Invite{Leg: a})
		c.record, c.plan = record, masking.Plan{Tenant: f.director.route.Tenant, Targets: []e164.Number{bob}}
		for s := range c.sides {
			if c.sides[s], err = st.Sides[s].negotiated(); err != nil {
				t.Fatal(err)
			}
		}
		if c.media, err = g.media.Open(); err != nil {
			t.Fatal(err)
		}
		c.rejoin(b)
		if _, err := g.readmit(c); err == nil || g.Live() != 0 {
			t.Fatal("a call was resumed without a leg")
		}
		wait(24 * time.Hour)
		if n := len(c.inbox); n != 0 {
			t.Errorf("%d timers have run out", n)
		}
	})
}

// The offer that a side refused was never a part of the session: what is asked after
// a restart is what holds.
func TestAnOfferThatWasRefusedIsNotWhatIsAskedAfterARestart(t *testing.T) {
	for _, side := range []Side{A, B} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			said := [2]string{A: f.caller.answers[0], B: string(f.b(1).dial.Offer)}
			leg, other, own, _ := f.sidesOf(side)
			f.offer(leg, with(own, "sendonly"))
			refused := other.offers[0]
			f.tell(other, Event{Kind: EvDeclined, Status: 488})
			said[side] = leg.answers[len(leg.answers)-1]

			g := f.restarted(time.Second, false)
			legs := [2]*fakeLeg{g.caller, g.callee}
			g.tell(g.caller, Event{Kind: EvDeclined, Status: 488})
			for s, l := range legs {
				if len(l.offers) == 0 || l.offers[0] != said[s] {
					t.Errorf("leg %s is asked with %q, not with %q", l.name, l.offers, said[s])
				}
			}
			// The version of what was refused stands for that alone.
			g.tell(g.callee, Event{Kind: EvDeclined, Status: 488})
			if offers := legs[side.other()].offers; len(offers) != 2 || offers[1] != refused {
				t.Fatalf("%q is offered again as %q", refused, offers)
			}
			g.tell(legs[side.other()], Event{Kind: EvDeclined, Status: 488})
			g.tell(legs[side], Event{Kind: EvOffered, Body: []byte(with(own, "inactive"))})
			again := legs[side.other()].offers
			_, before := origin(t, refused)
			if _, now := origin(t, again[len(again)-1]); now <= before {
				t.Errorf("version %s was refused, then %s is offered", before, now)
			}
			g.tell(g.caller, Event{Kind: EvHungUp})
			g.over(masking.CauseCallerHungUp)
		})
	}
}
