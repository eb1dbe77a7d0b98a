package b2bua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

var (
	someBody  = rapid.SampledFrom([]string{"", "?", answerOfB, offerOfA, offerOfWords, with(offerOfA, "sendonly"), with(answerOfB, "inactive")})
	someCause = rapid.SampledFrom([]masking.Cause{"", masking.CauseBusy, masking.CauseNoAnswer, masking.CauseFailed, masking.CauseDeclined})
	someID    = rapid.SampledFrom([]masking.AllocationID{"", "gvn_1", "gvn_2", "gp_1"})
	someKey   = rapid.SampledFrom([]byte("0123456789*#ABCD"))
	someKeys  = rapid.SampledFrom([]string{rightPIN, rightPIN + "#", wrongPIN + "#", "1#", "#", "*", "4821", "7"})
	someKind  = rapid.SampledFrom(kinds)
)

// anyEvent is any event of any side and attempt, sensible or not.
var anyEvent = rapid.Custom(func(t *rapid.T) Event {
	return Event{
		Kind: EventKind(rapid.IntRange(0, int(eventKinds)-1).Draw(t, "kind")), Side: Side(rapid.IntRange(0, 1).Draw(t, "side")),
		Attempt: rapid.IntRange(-1, 5).Draw(t, "attempt"), Body: []byte(someBody.Draw(t, "body")),
		Status: rapid.SampledFrom([]int{0, 200, 486, 503}).Draw(t, "status"), Cause: someCause.Draw(t, "cause"),
		Retry: rapid.Bool().Draw(t, "retry"), Allocation: someID.Draw(t, "allocation"),
		Until: time.Now().Add(time.Duration(rapid.IntRange(-5, 90).Draw(t, "until")) * time.Second),
		Digit: someKey.Draw(t, "key"), By: By(rapid.IntRange(0, 1).Draw(t, "by")),
	}
})

// anyEvents are an event, or the keys of an entry one after the other.
var anyEvents = rapid.OneOf(rapid.Map(anyEvent, func(e Event) []Event { return []Event{e} }),
	rapid.Map(someKeys, func(keys string) []Event { return typing(keys) }))

// lack is what a call needs of the world and may not have.
type lack struct {
	store, relay bool
	offer        string
}

var anyLack = rapid.Custom(func(t *rapid.T) lack {
	return lack{rapid.IntRange(0, 9).Draw(t, "no store") == 1, rapid.IntRange(0, 9).Draw(t, "no relay") == 1,
		rapid.SampledFrom([]string{offerOfA, offerOfA, offerOfA, offerOfWords, ""}).Draw(t, "offer")}
})

func (l lack) of(f *exchange) {
	if l.store {
		f.director.away = errors.New("the store is away")
	}
	f.media.fail, f.says = l.relay, l.offer
}

// Whatever a call hears, it makes only steps that the table documents and keeps
// its books: one record, closed once; legs ended, media closed.
func TestACallKeepsItsBooksWhateverItHears(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newKind(t, someKind.Draw(rt, "kind"))
		anyLack.Draw(rt, "lack").of(f)
		c := drive(t, f)
		defer c.disarm()
		if rapid.Bool().Draw(rt, "two trunks") {
			f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
		}
		f.director.setTo([]e164.Number{bob, carol, dave}[:rapid.IntRange(1, 3).Draw(rt, "numbers")]...)
		c.route()
		for _, e := range slices.Concat(rapid.SliceOfN(anyEvents, 0, 30).Draw(rt, "events")...) {
			if c.state == Over {
				break
			}
			if rapid.Bool().Draw(rt, "current") {
				e = current(c, e)
			}
			from := c.state
			c.handle(e)
			if !documented(from, e.Kind, c.state) {
				rt.Fatalf("%v led from %v to %v", e.Kind, from, c.state)
			}
			if fault := c.deal.fault(); fault != "" {
				rt.Fatalf("after %v in %v %s", e.Kind, from, fault)
			}
			if c.finished != (c.state >= Ending) {
				rt.Fatalf("after %v in %v the call is in %v, its record closed: %v", e.Kind, from, c.state, c.finished)
			}
		}
		for attempt := f.dials(); attempt > 0 && c.state != Over; attempt-- {
			c.handle(Event{Kind: EvGone, Side: B, Attempt: attempt})
		}
		if c.state != Over {
			c.handle(Event{Kind: EvGone, Side: A})
		}
		for attempt := f.dials(); attempt > 0 && c.state != Over; attempt-- { // one dialled meanwhile
			c.handle(Event{Kind: EvGone, Side: B, Attempt: attempt})
		}
		if c.state != Over {
			rt.Fatalf("all legs are gone and the call is in %v: %v", c.state, f.trace.all())
		}
		if fault := f.fault(); fault != "" {
			rt.Fatalf("%s: %v", fault, f.trace.all())
		}
	})
}

// fault finds what may never be of offers. A leg forgets ours that is made to a peer
// whose own is owed an answer.
func (d *deal) fault() string {
	waits := func(s Side) bool { return slices.ContainsFunc(d.later, func(e Event) bool { return e.Side == s }) }
	switch {
	case d.at != settled && d.inAck != [2]bool{}:
		return "an offer is made while an ACK is to bring an answer"
	case d.at != settled && waits(d.to):
		return "an offer is made to a side whose own waits"
	case d.quiet() && len(d.later) > 0:
		return "offers wait for nothing"
	}
	return ""
}

// deed is one thing that happens to a running call.
type deed struct {
	do    string
	leg   int // whose event: 0 is the caller, then the legs dialled; beyond them the last
	event Event
	keys  string
	id    masking.AllocationID
	after time.Duration
	burst bool // the next follows at once
}

var anyDeed = rapid.Custom(func(t *rapid.T) deed {
	d := deed{
		do: rapid.SampledFrom([]string{"say", "say", "say", "say", "keys", "keys", "end", "end", "post", "wait", "allocation", "terminate",
			"gone", "hear", "drain", "judge"}).Draw(t, "do"), keys: someKeys.Draw(t, "keys"),
		leg: rapid.IntRange(0, 4).Draw(t, "leg"), event: anyEvent.Draw(t, "event"), id: someID.Draw(t, "id"),
		after: time.Duration(rapid.IntRange(0, 70).Draw(t, "after")) * time.Second, burst: rapid.Bool().Draw(t, "burst"),
	}
	d.event.Kind %= EvPlayed // what a leg may say
	return d
})

// run does a deed to the first call of f.
func (d deed) run(ctx context.Context, f *exchange, draining *bool) {
	legs := append([]*fakeLeg{f.caller}, f.legs()...)
	leg := legs[min(d.leg, len(legs)-1)]
	switch d.do {
	case "say":
		leg.say(d.event)
	case "post":
		for _, c := range f.book.all() {
			c.post(d.event)
		}
	case "wait":
		wait(d.after)
	case "allocation", "terminate":
		f.AllocationEnded(d.id, d.do == "terminate")
	case "gone":
		leg.vanish()
	case "hear", "keys", "end":
		if s := f.media.last(); s != nil {
			d.listen(s)
		}
	case "judge": // from now on the Director tells at once
		f.release()
	case "drain":
		if !*draining {
			*draining = true
			go f.Drain(ctx)
		}
	}
	if !d.burst {
		synctest.Wait()
	}
}

// listen does what happens in the media.
func (d deed) listen(s *fakeSession) {
	switch side := Side(d.leg % 2); d.do {
	case "hear":
		s.hear(side)
	case "keys":
		s.press(A, d.keys)
	case "end":
		s.end(side)
	}
}

func (f *exchange) legs() []*fakeLeg {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*fakeLeg(nil), f.dialled...)
}

// The same with the call's own goroutine and timers, and with events that come
// in the same moment.
func TestARunningCallEndsOnceAllItsLegsAreGone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		deeds := rapid.SliceOfN(anyDeed, 0, 25).Draw(rt, "deeds")
		slow := rapid.Bool().Draw(rt, "slow")
		without := anyLack.Draw(rt, "lack")
		k, early, late := someKind.Draw(rt, "kind"), rapid.Bool().Draw(rt, "early"), rapid.Bool().Draw(rt, "late")
		fault := ""
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f := newKind(t, k)
			f.slow = slow
			without.of(f)
			if early {
				f.director.gate = make(chan struct{})
			}
			if late {
				f.director.judging = make(chan struct{})
			}
			f.call()
			draining := false
			for i, d := range deeds {
				if early && i == 2 {
					close(f.director.gate)
				}
				d.run(ctx, f, &draining)
			}
			if early && len(deeds) <= 2 {
				close(f.director.gate)
			}
			f.release()
			fault = f.finishAll()
			cancel()
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// finishAll lets all legs go and says what is wrong then.
func (f *exchange) finishAll() string {
	synctest.Wait()
	for _, l := range f.callers {
		l.vanish()
	}
	synctest.Wait() // now no further leg is dialled
	for _, l := range f.legs() {
		l.vanish()
	}
	synctest.Wait()
	if n := f.Live(); n != 0 {
		return fmt.Sprintf("all legs are gone and %d calls are up: %v", n, f.trace.all())
	}
	if fault := f.fault(); fault != "" {
		return fmt.Sprintf("%s: %v", fault, f.trace.all())
	}
	return ""
}
