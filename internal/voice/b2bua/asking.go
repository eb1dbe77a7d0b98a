package b2bua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// This file asks a caller for a PIN. His leg is answered, and his
// keys are heard here and nowhere else: the other side does not exist yet.

const (
	firstDigit = 8 * time.Second // from the end of the question
	nextDigit  = 3 * time.Second
	askTotal   = 2 * time.Minute // whoever clears and clears must end some day
	askTwice   = 2               // times that one question is put
)

// pinEntry is what a caller has entered so far.
type pinEntry struct {
	digits  []byte
	lengths []int // of the PINs on the number
	asked   int   // how often the present question has been put
	tries   int   // PINs entered
	heard   bool  // a key has been pressed
	by      By    // how; a phone that tells its keys in two ways is heard in the first
}

// complete reports whether no further digit can belong to the PIN.
func (p *pinEntry) complete() bool {
	n := len(p.digits)
	return n >= masking.MaxPINLength || len(p.lengths) > 0 && n >= slices.Max(p.lengths)
}

// ask answers the caller and puts the question. The call begins as nobody's.
func (c *call) ask() State {
	c.x.book.rests(c)
	c.note(masking.Began)
	if err := c.readOffer(); err != nil {
		return c.noMedia(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.x.o.Timing.Route)
	defer cancel()
	lengths, err := c.x.o.Director.PINLengths(ctx, c.in.Ask)
	if err != nil {
		c.log.Warn("PINs cannot be read now", "error", err.Error())
		c.finish(masking.CauseRejected, Reason{masking.CauseRejected, masking.RefusedUnavailable})
		return Ending
	}
	if !c.x.o.Media.Spare() {
		c.log.Warn("no media to spare for a question")
		c.finish(masking.CauseRejected, Reason{masking.CauseRejected, masking.RefusedUnavailable})
		return Ending
	}
	body, err := c.speakAlone()
	if err != nil {
		return c.noMedia(err)
	}
	if c.pin.lengths = lengths; len(lengths) == 0 { // asked by policy alone: nothing is right
		c.pin.lengths = []int{c.plan.Tenant.Settings.PINLength}
	}
	if c.gaveUp.Load() { // while the store was read; answered, he would have to be hung up on
		c.finish(masking.CauseCallerCancelled, Reason{Cause: masking.CauseCallerCancelled})
		return Ending
	}
	c.media.Listen(A, func(digit byte) { c.post(Event{Kind: EvDigit, Side: A, Digit: digit, By: ByMedia}) })
	c.taken = true
	c.in.Leg.Answer(body)
	c.arm(EvTotalTime, askTotal)
	return c.question(SoundEnterPIN)
}

// speakAlone opens media with the caller and nobody else, and makes the answer to
// his offer, or an offer where he made none.
func (c *call) speakAlone() (answer []byte, err error) {
	var voice *sdp.Description
	if c.sides[A].theirs != nil {
		if voice, err = sdp.Voice(c.sides[A].theirs); err != nil {
			return nil, err
		}
	}
	if c.media, err = c.x.o.Media.Open(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoRelay, err)
	}
	answer, err = c.say(A, func(l sdp.Local) ([]byte, error) {
		if voice == nil {
			c.deal.inAck[A] = true
			return sdp.Anchor(sdp.Unasked(), l), nil
		}
		return sdp.Answer(c.sides[A].theirs, voice, l)
	})
	if err != nil {
		return nil, err
	}
	return answer, c.point(A)
}

// errNoOffer says that a caller cannot be spoken to before he is answered.
var errNoOffer = errors.New("no offer")

// errNoRelay says that media cannot be opened, which is no fault of the offer.
var errNoRelay = errors.New("no relay")

// noMedia ends a call whose offer we can do nothing with.
func (c *call) noMedia(err error) State {
	cause := masking.CauseNoMedia
	if errors.Is(err, errNoRelay) {
		cause = masking.CauseFailed
	}
	c.log.Info("the caller's offer cannot be carried", "reason", err.Error())
	c.finish(cause, Reason{Cause: cause})
	return Ending
}

// question is put, after all that was heard before it.
func (c *call) question(s Sound) State {
	c.pin.asked++
	c.pin.digits = c.pin.digits[:0]
	c.timer(EvDigitTime).stop()
	c.utter(A, s)
	return Asking
}

// await waits for a key.
func (c *call) await(d time.Duration) State {
	c.arm(EvDigitTime, d)
	return Asking
}

// takeKey takes a key of the caller's; it interrupts what is being said to him.
func (c *call) takeKey(e Event) State {
	p := &c.pin
	if e.Side != A || p.heard && p.by != e.By {
		return c.state
	}
	p.heard, p.by = true, e.By
	switch {
	case e.Digit == '*':
		p.digits = p.digits[:0]
		c.hush(A)
		return c.await(firstDigit)
	case e.Digit == '#':
		c.hush(A)
		return c.judge()
	case e.Digit < '0' || e.Digit > '9':
		return c.state
	}
	c.hush(A)
	if p.digits = append(p.digits, e.Digit); p.complete() {
		return c.judge()
	}
	return c.await(nextDigit)
}

// judge lets the Director decide on what was entered, or puts the question again
// if nothing was. What is heard does not tell a wrong PIN from an expired or a
// locked one.
func (c *call) judge() State {
	p := &c.pin
	if len(p.digits) == 0 {
		if p.asked < askTwice {
			return c.question(SoundEnterPIN)
		}
		return c.deny(masking.RefusedPIN)
	}
	pin, whole := masking.ParsePIN(string(p.digits))
	p.tries++
	left, why := masking.TriesPerCall-p.tries, masking.RefusedPIN
	if whole {
		ctx, cancel := context.WithTimeout(context.Background(), c.x.o.Timing.Route)
		defer cancel()
		c.x.book.routes(c)
		r, more, err := c.x.o.Director.Enter(ctx, c.in.Ask, pin)
		if err != nil || r.Refusal != "" {
			c.x.book.rests(c)
		}
		switch {
		case err != nil:
			c.log.Warn("a PIN cannot be judged now", "error", err.Error())
			return c.leaveWith(SoundUnreachable, Reason{masking.CauseRejected, masking.RefusedUnavailable})
		case slices.Contains(fullUp, r.Refusal):
			return c.leaveWith(ToneBusy, Reason{masking.CauseRejected, r.Refusal})
		case r.Refusal == "" && r.Plan.Tenant.ID != c.record.Tenant: // the number has changed hands since he called
			return c.deny(masking.RefusedPIN)
		case r.Refusal == "":
			return c.match(r)
		}
		left, why = min(left, more), r.Refusal
	}
	if left <= 0 {
		return c.deny(why)
	}
	p.asked = 0
	return c.question(SoundWrongPIN)
}

// fullUp are the refusals of a PIN that is right.
var fullUp = []masking.Refusal{masking.RefusedAllocationLimit, masking.RefusedDayCalls, masking.RefusedDayTalk, masking.RefusedVelocity,
	masking.RefusedDestination}

// deny tells the caller that no PIN of his is valid, and ends the call.
func (c *call) deny(why masking.Refusal) State {
	return c.leaveWith(SoundPINFailed, Reason{masking.CauseRejected, why})
}

// match makes the call that of the allocation which the PIN opened, and rings.
func (c *call) match(r masking.Ruling) State {
	c.disarm()
	c.media.Listen(A, nil)
	c.plan = r.Plan
	c.record.Allocation, c.record.Direction, c.record.CustomField = r.Plan.Allocation.ID, r.Plan.Direction, r.Plan.Allocation.CustomField
	if len(r.Plan.Targets) > 0 {
		c.record.Callee = r.Plan.Targets[0]
	}
	c.log = c.log.With("allocation", string(r.Plan.Allocation.ID))
	c.note(masking.Matched)
	c.in.Leg.Bind(c.line.tell, c.hiddenFrom(c.plan.Caller))
	if c.x.book.routed(c, c.plan.Allocation.ID) {
		return c.leaveWith(SoundUnreachable, Reason{Cause: masking.CauseAllocationEnded})
	}
	c.utter(A, SoundConnecting)
	return c.setOut()
}
