package b2bua

import (
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// This file is about two people who call each other in the same moment. Each would
// find the other busy with his own call. Instead the call that
// came first takes the other caller's leg as its other side, and the numbers that
// it rings are told no more; the second call rings nobody, and its record ends as
// joined. So both calls have a record and are counted, and one has the talk.

// guest is a call whose caller is one of those whom another call rings.
type guest struct {
	call    masking.CallID
	caller  e164.Number
	trunk   string
	leg     Leg
	line    *line
	offer   *sdp.Description
	hidden  []e164.Number
	gaveUp  *atomic.Bool
	release func()    // gives back what his call holds; the host's from the joining on
	joined  chan bool // told once; has room
}

// refuse lets a guest go on by himself.
func (g *guest) refuse() {
	if g != nil {
		g.joined <- false
	}
}

// met is what becomes of a call that rings somebody who calls its caller. A call
// that was forwarded to us by the very phone that is rung is no call of its owner:
// it would go round for ever.
func (c *call) met(host *call) State {
	if c.in.Diverted {
		c.finish(masking.CauseRejected, Reason{masking.CauseRejected, masking.RefusedLoop})
		return Ending
	}
	g := &guest{call: c.in.Call, caller: c.plan.Caller, trunk: c.in.Trunk, leg: c.in.Leg, line: c.line, offer: c.sides[A].theirs,
		hidden: c.hiddenFrom(c.plan.Caller), gaveUp: &c.gaveUp, release: c.release, joined: make(chan bool, 1)}
	host.post(Event{Kind: EvMet, Guest: g})
	joined := false
	select {
	case joined = <-g.joined:
	case <-host.over:
		select {
		case joined = <-g.joined:
		default:
		}
	}
	switch {
	case joined:
		c.depart(host.in.Call)
		return Over
	case c.gaveUp.Load(): // nobody is to be rung for him
		c.finish(masking.CauseCallerCancelled, Reason{Cause: masking.CauseCallerCancelled})
		return Ending
	}
	c.x.book.hunts(c)
	return c.setOut()
}

// depart ends a call whose caller talks in another one. What his leg has said
// before it was led there is said there.
func (c *call) depart(host masking.CallID) {
	c.finished = true
	c.record.Cause, c.record.EndedAt, c.record.RingTime = masking.CauseJoined, c.x.o.Clock(), time.Since(c.began)
	for {
		select {
		case e := <-c.inbox:
			if e.Kind <= EvDigit { // what a leg may say
				c.line.tell(e)
			}
			continue
		default:
		}
		break
	}
	c.contain(func() { c.note(masking.Ended) })
	c.log.Info("call joined with another one", "other", string(host))
}

// join takes the leg of a guest as the other side of the call, and answers both
// callers: each his own offer, with what both can do.
func (c *call) join(g *guest) State {
	if g == nil {
		return c.state
	}
	gone := c.gaveUp.Load() || g.gaveUp.Load()
	if gone || g.offer == nil || c.sides[A].theirs == nil { // whoever made no offer cannot be answered with the other's
		g.refuse()
		return c.state
	}
	toCaller, toGuest, err := c.introduce(g)
	if err != nil {
		c.log.Info("two calls cannot be joined", "reason", err.Error())
		g.refuse()
		return c.state
	}
	c.attempt++
	b := &branch{target: g.caller, attempt: c.attempt, entry: len(c.record.Attempts), since: time.Now(), leg: g.leg, media: c.media}
	c.record.Attempts = append(c.record.Attempts, masking.Attempt{Target: g.caller, Trunk: g.trunk})
	c.won, c.b = b, g.leg
	c.up[end{B, b.attempt}] = struct{}{}
	release := c.release
	c.release = func() { c.contain(release); g.release() }
	g.line.move(c.from(B, b.attempt))
	g.joined <- true
	g.leg.Bind(g.line.tell, append(c.hiddenFrom(g.caller), g.hidden...))
	g.leg.Answer(toGuest)
	return c.talk(toCaller)
}

// introduce opens media between the caller and a guest, and makes the answer to
// each. Where there is none, nothing has changed.
func (c *call) introduce(g *guest) (toCaller, toGuest []byte, err error) {
	a := c.sides[A]
	defer func() {
		if err != nil {
			c.closeMedia()
			c.sides = [2]negotiated{A: a}
		}
	}()
	if c.media, err = c.x.o.Media.Open(); err != nil {
		return nil, nil, err
	}
	c.sides[B] = negotiated{}
	c.heed(B, g.offer)
	answer := func(s Side) (body []byte, err error) {
		other := toward(c.sides[s.other()].theirs, sdp.SendRecv)
		return c.say(s, func(l sdp.Local) ([]byte, error) { return sdp.Answer(c.sides[s].theirs, other, l) })
	}
	if toCaller, err = answer(A); err != nil {
		return nil, nil, err
	}
	if toGuest, err = answer(B); err != nil {
		return nil, nil, err
	}
	if err = c.point(A); err != nil {
		return nil, nil, err
	}
	return toCaller, toGuest, c.point(B)
}
