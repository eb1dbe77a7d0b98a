package b2bua

import (
	"context"
	"fmt"
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
	someID    = rapid.SampledFrom([]masking.AllocationID{"", "gvn_1", "gvn_2"})
)

// anyEvent is any event of any side and attempt, sensible or not.
var anyEvent = rapid.Custom(func(t *rapid.T) Event {
	return Event{
		Kind: EventKind(rapid.IntRange(0, int(eventKinds)-1).Draw(t, "kind")), Side: Side(rapid.IntRange(0, 1).Draw(t, "side")),
		Attempt: rapid.IntRange(-1, 5).Draw(t, "attempt"), Body: []byte(someBody.Draw(t, "body")),
		Status: rapid.SampledFrom([]int{0, 200, 486, 503}).Draw(t, "status"), Cause: someCause.Draw(t, "cause"),
		Retry: rapid.Bool().Draw(t, "retry"), Allocation: someID.Draw(t, "allocation"),
	}
})

// Whatever a call hears, it makes only steps that the table documents and keeps
// its books: one record, closed once; legs ended, media closed.
func TestACallKeepsItsBooksWhateverItHears(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, c := drive(t)
		defer c.disarm()
		if rapid.Bool().Draw(rt, "two trunks") {
			f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
		}
		f.director.setTo([]e164.Number{bob, carol, dave}[:rapid.IntRange(1, 3).Draw(rt, "numbers")]...)
		c.route()
		for _, e := range rapid.SliceOfN(anyEvent, 0, 30).Draw(rt, "events") {
			if c.state == Over {
				break
			}
			from := c.state
			c.handle(e)
			if !documented(from, e.Kind, c.state) {
				rt.Fatalf("%v led from %v to %v", e.Kind, from, c.state)
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

// deed is one thing that happens to a running call.
type deed struct {
	do    string
	leg   int // whose event: 0 is the caller, then the legs dialled; beyond them the last
	event Event
	id    masking.AllocationID
	after time.Duration
	burst bool // the next follows at once
}

var anyDeed = rapid.Custom(func(t *rapid.T) deed {
	d := deed{
		do:  rapid.SampledFrom([]string{"say", "say", "say", "say", "post", "wait", "allocation", "terminate", "gone", "hear", "drain"}).Draw(t, "do"),
		leg: rapid.IntRange(0, 4).Draw(t, "leg"), event: anyEvent.Draw(t, "event"), id: someID.Draw(t, "id"),
		after: time.Duration(rapid.IntRange(0, 70).Draw(t, "after")) * time.Second, burst: rapid.Bool().Draw(t, "burst"),
	}
	d.event.Kind %= EvRingTime // what a leg may say
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
	case "hear":
		if s := f.media.last(); s != nil {
			s.hear(Side(d.leg % 2))
		}
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
		refused := rapid.SampledFrom([]error{nil, nil, nil, nil, masking.RefusedStranger}).Draw(rt, "refused")
		early := rapid.Bool().Draw(rt, "early")
		fault := ""
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f := newExchange(t, bob, carol, dave)
			f.slow, f.director.err = slow, refused
			if early {
				f.director.gate = make(chan struct{})
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
	f.caller.vanish()
	synctest.Wait() // now no further leg is dialled
	for _, l := range f.legs() {
		l.vanish()
	}
	synctest.Wait()
	if n := f.Live(); n != 0 {
		return fmt.Sprintf("all legs are gone and %d calls are up: %v", n, f.trace.all())
	}
	if f.trace.count("note began") == 0 && f.caller.ended() {
		return "" // refused
	}
	if fault := f.fault(); fault != "" {
		return fmt.Sprintf("%s: %v", fault, f.trace.all())
	}
	return ""
}
