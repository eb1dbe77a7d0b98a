package b2bua

import (
	"slices"
	"time"

	"tandem/internal/voice/sdp"
)

// This file is about offers that wait for their turn, and offers that a side takes
// back by CANCEL (RFC 3261 §9.2), be they answered by then.

// wait keeps an offer for later. What may be had without asking anybody comes first.
func (d *deal) wait(e Event) {
	if len(e.Body) == 0 {
		d.later = slices.Insert(d.later, 0, e)
		return
	}
	d.later = append(d.later, e)
}

// next takes the offer of a side that waits.
func (d *deal) next(s Side) (e Event, waits bool) {
	i := slices.IndexFunc(d.later, func(o Event) bool { return o.Side == s })
	if i < 0 {
		return Event{}, false
	}
	e = d.later[i]
	d.later = slices.Delete(d.later, i, i+1)
	return e, true
}

// quiet reports whether no offer is open between us and either side.
func (d *deal) quiet() bool { return d.at == settled && d.inAck == [2]bool{} }

// takeUp goes on where nothing is open any more: with what waits, then by telling a
// side whose stream has become another one meanwhile.
func (c *call) takeUp() {
	d := &c.deal
	if !d.quiet() || c.sides[A].theirs == nil {
		return
	}
	if len(d.later) > 0 {
		e, _ := d.next(d.later[0].Side)
		c.renew(e) // which comes here again
		return
	}
	for _, s := range []Side{A, B} {
		if d.recheck[s] && d.at == settled {
			d.recheck[s] = false
			c.align(s)
		}
	}
}

// withdrawn takes the news that a side takes its offer back.
func (c *call) withdrawn(e Event) {
	switch {
	case c.leg(e.Side) == nil:
	case c.state == Talking:
		c.dealWith(c.moveOf(e), e)
	default:
		c.undo(e.Side)
	}
}

// forget drops the offer of a side that waits, and reports whether there was one.
func (c *call) forget(s Side) bool {
	_, waits := c.deal.next(s)
	if waits {
		c.leg(s).RefuseOffer() // which goes nowhere
	}
	return waits
}

// undo makes a side what it was before it made an offer that was taken back while
// the call answered it: the answer went nowhere.
func (c *call) undo(s Side) {
	d, n := &c.deal, &c.sides[s]
	if d.past[s] == nil {
		return
	}
	was := *d.past[s]
	was.numbers = n.numbers // they have been told all the same
	switch {
	case d.at != settled && d.to == s: // our offer of since then stands
		d.before = was.told
		was.told, was.sent, was.version, was.keys = n.told, n.sent, n.version, n.keys
	case was.keys != n.keys: // the counting of packets has begun anew, and must not with the keys of before
		was.keys = nil
	}
	if c.state == Talking && c.held() {
		c.quiet = time.Now()
	}
	*n = was
	d.past[s], d.inAck[s], d.recheck = nil, false, [2]bool{true, true}
	c.repoint()
}

// keyless reports whether a side is to be told new keys of ours.
func (n *negotiated) keyless() bool {
	ours, _ := n.ours.Audio()
	theirs, _ := n.theirs.Audio()
	used, err := sdp.Protected(ours, theirs)
	return err == nil && used != nil && n.keys == nil
}
