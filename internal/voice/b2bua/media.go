package b2bua

import (
	"net/netip"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// negotiated is what one side and we have told each other about media.
type negotiated struct {
	told
	theirs  *sdp.Description
	sent    []byte        // the last description that was made for the side, be it refused
	version uint64        // its
	wish    sdp.Direction // what the side would do if we let it
	numbers sdp.Numbers   // payload numbers that the side and we have used
	keys    *sdp.Keys     // ours under SRTP, from the first description on
	profile sdp.Profile   // of our first offer
}

// told is a description of ours that holds, or is open: not one that was refused.
type told struct {
	ours *sdp.Description
	said []byte // as it was sent
}

// profiles are what offers say over trunks.
var profiles = map[masking.SRTP]sdp.Profile{masking.SRTPOptional: sdp.Optional, masking.SRTPRequired: sdp.Mandatory}

// next is our end of a side in the next description for it. What is in use of
// SRTP and rtcp-mux stays in use.
func (n *negotiated) next() sdp.Local {
	if n.keys == nil {
		keys := sdp.NewKeys()
		n.keys = &keys
	}
	l := sdp.Local{Version: n.version, Keys: *n.keys, Profile: n.profile}
	if n.ours != nil {
		ours, _ := n.ours.Audio()
		l.Profile, l.Mux = sdp.ProfileOf(ours), ours.Mux
		if n.theirs != nil {
			theirs, _ := n.theirs.Audio()
			if used, err := sdp.Protected(ours, theirs); err == nil && used != nil {
				l.Suite = used.Suite // another one would begin the counting of packets anew
			}
		}
	}
	return l
}

// rekey draws keys of ours anew if an offer brings other ones than before: the
// counting of packets begins anew with them on both ways (RFC 4568 §7.1.4).
func (n *negotiated) rekey(offer *sdp.Description) {
	if n.theirs == nil {
		return
	}
	before, _ := n.theirs.Audio()
	now, _ := offer.Audio()
	if sdp.Rekeyed(before, now) {
		n.keys = nil
	}
}

// readOffer reads the caller's description. Who makes no offer is made one with the
// answer to his INVITE, and says with its ACK what he can do (RFC 3261 §13.2.1).
func (c *call) readOffer() error {
	if len(c.in.Offer) == 0 {
		return nil
	}
	d, err := sdp.Parse(c.in.Offer)
	if err != nil {
		return err
	}
	if err := sdp.CheckOffer(d); err != nil {
		return err
	}
	if m, _ := d.Audio(); c.in.SRTP == masking.SRTPRequired && len(m.Crypto) == 0 {
		return sdp.ErrNotProtected
	}
	c.heed(A, d)
	return nil
}

// openMedia opens a relay for an attempt that begins and makes its offer.
// Every attempt has ports of its own, so that what one number's phone still
// sends never reaches the call with another.
//
// A caller who was answered keeps his, and each attempt is given a seat there; he is
// offered to the callee with what was agreed with him, in either law of G.711.
func (c *call) openMedia(b *branch, srtp masking.SRTP) (offer []byte, err error) {
	var at netip.AddrPort
	from := c.sides[A].theirs
	if c.taken {
		if b.seat, err = c.media.Seat(); err != nil {
			return nil, err
		}
		at, from = b.seat.Local(), c.sides[A].ours
	} else {
		if b.media, err = c.x.o.Media.Open(); err != nil {
			return nil, err
		}
		at = b.media.Local(B)
	}
	if from == nil {
		from = sdp.Unasked()
	}
	b.side = negotiated{profile: profiles[srtp]}
	// A caller who begins on hold holds the relay: nobody is asked to be silent who
	// has not answered yet.
	return c.describe(&b.side, at, B, func(l sdp.Local) ([]byte, error) { return sdp.Anchor(toward(from, sdp.SendRecv), l), nil })
}

// say makes a description for a side and remembers it.
func (c *call) say(s Side, build func(sdp.Local) ([]byte, error)) ([]byte, error) {
	return c.describe(&c.sides[s], c.media.Local(s), s, build)
}

// describe makes a description for a side that sends to at, and remembers it in n.
// Its version rises only when the content changes (RFC 3264 §8).
func (c *call) describe(n *negotiated, at netip.AddrPort, s Side, build func(sdp.Local) ([]byte, error)) ([]byte, error) {
	local := n.next()
	local.Addr, local.SessionID = at, sessionID(c.in.Received, s)
	body, err := build(local)
	if err != nil {
		return nil, err
	}
	if n.sent != nil && sdp.Changed(n.sent, body) {
		local.Version++
		if body, err = build(local); err != nil {
			return nil, err
		}
	}
	d, err := sdp.Parse(body)
	if err != nil {
		return nil, err
	}
	n.version, n.sent, n.told = local.Version, body, told{d, body}
	m, _ := d.Audio()
	n.numbers.Learn(m)
	return body, nil
}

// sessionID is the o= session id: the moment of the INVITE, which tells nobody
// anything, one apart for each side.
func sessionID(received time.Time, s Side) uint64 { return uint64(received.UnixNano())&^1 | uint64(s) }

// connect joins the sides with the callee's answer and takes the caller up. All
// others that ring are told no more.
func (c *call) connect(e Event) State {
	if err := c.take(c.branch(e)); err != nil {
		return c.unfit(err)
	}
	caller := c.sides[A]
	body, err := c.agree(e.Body)
	if err != nil {
		if !c.taken { // he has been told nothing
			c.sides[A] = caller
		}
		return c.unfit(err)
	}
	c.deal.inAck[A] = c.deal.inAck[A] || c.sides[A].theirs == nil
	return c.talk(body)
}

// talk begins with the phone that was taken; body answers the caller.
func (c *call) talk(body []byte) State {
	c.disarm()
	c.x.book.settled(c)
	c.answeredAt = time.Now()
	c.quiet = c.answeredAt
	c.record.AnsweredAt = c.x.o.Clock()
	c.record.RingTime = c.answeredAt.Sub(c.began)
	c.record.Callee = c.won.target
	last := &c.record.Attempts[c.won.entry]
	last.Answered, last.Status, last.Cause, last.Ring = true, 200, "", time.Since(c.won.since)
	c.record.Recorded = c.plan.Allocation.Record && !c.plan.Tenant.Settings.RecordingNotice
	if !c.taken {
		c.in.Leg.Answer(body)
	}
	c.drop(masking.CauseElsewhere)
	c.note(masking.Answered)
	c.startTape()
	c.arm(EvMediaCheck, c.x.o.Timing.MediaChecks)
	c.bound()
	return Talking
}

// take makes the phone of a branch the other side of the call.
func (c *call) take(b *branch) error {
	c.branches = slices.DeleteFunc(c.branches, func(o *branch) bool { return o == b })
	c.won, c.b, c.sides[B] = b, b.leg, b.side
	if !c.taken {
		c.media = b.media
		return nil
	}
	c.hush(A)
	seat := b.seat
	b.seat = nil
	return c.media.Take(seat)
}

// unfit gives up a phone whose answer cannot be carried: the call goes on with
// the others that ring, or with the next number.
func (c *call) unfit(err error) State {
	c.log.Info("the callee's answer cannot be carried", "reason", err.Error())
	b := c.won
	c.closeAttempt(b, masking.CauseFailed, 200) // which came, with what is of no use
	c.won, c.b, c.sides[B] = nil, nil, negotiated{}
	if !c.taken {
		c.media = nil
	}
	c.endBranch(b, masking.CauseFailed)
	c.ringBack()
	return c.hunt()
}

// agree reads the callee's answer and makes the caller's of it.
func (c *call) agree(answer []byte) ([]byte, error) {
	d, err := sdp.Parse(answer)
	if err != nil {
		return nil, err
	}
	c.heed(B, d)
	if c.taken { // and told what he can say long ago
		if _, err := sdp.Answer(c.sides[B].ours, d, c.sides[B].next()); err != nil { // nothing in common
			return nil, err
		}
		if err := c.point(A); err != nil {
			return nil, err
		}
		return nil, c.point(B)
	}
	body, err := c.say(A, func(l sdp.Local) ([]byte, error) {
		if c.sides[A].theirs == nil {
			return sdp.Anchor(c.unasked(d), l), nil
		}
		return sdp.Answer(c.sides[A].theirs, d, l)
	})
	if err != nil {
		return nil, err
	}
	if err := c.point(A); err != nil {
		return nil, err
	}
	return body, c.point(B)
}

// unasked is what a caller who made no offer is made one of: what the callee has
// agreed to.
func (c *call) unasked(callee *sdp.Description) *sdp.Description {
	if c.plan.Allocation.Record {
		return sdp.OnlyG711(callee)
	}
	return callee
}

// point connects a side of the relay to its peer; one that has said nothing yet
// stays as it is.
func (c *call) point(s Side) error {
	mine, other := &c.sides[s], &c.sides[s.other()]
	if mine.theirs == nil {
		return nil
	}
	c.change()
	theirs, ok := mine.theirs.Audio()
	if !ok {
		return sdp.ErrNoAudio
	}
	ours, _ := mine.ours.Audio()
	protection, err := sdp.Protected(ours, theirs)
	if err != nil {
		return err
	}
	if protection != nil && mine.keys == nil { // it is told others first; see undo
		return nil
	}
	if protection == nil { // the counting of packets ends with SRTP, and no key may see it begin twice
		mine.keys = nil
	}
	stream := Stream{RTP: theirs.Addr, RTCP: theirs.RTCP, Keys: protection, Clocks: sdp.ClockRates(ours, theirs), Laws: sdp.Laws(ours, theirs),
		Events: sdp.Events(ours, theirs), Send: !theirs.Held(), Receive: theirs.Direction.Sends()}
	stream.Voice, stream.VoiceLaw = sdp.Speak(ours, theirs)
	if ours.Mux && theirs.Mux {
		stream.RTCP = stream.RTP
	}
	var otherOurs, otherTheirs sdp.Media
	if other.theirs != nil {
		otherOurs, _ = other.ours.Audio()
		otherTheirs, _ = other.theirs.Audio()
	}
	if c.taken { // to one law of those that he named
		theirs = sdp.Agreed(theirs, ours)
	}
	stream.Payloads = sdp.PayloadMap(otherOurs, theirs, otherTheirs)
	// The other side may have agreed to both laws, and go on to speak the one that
	// this side has given up by an offer of its own.
	stream.Tables = sdp.BridgeLaws(&stream.Payloads, otherOurs, theirs, otherTheirs)
	return c.media.Connect(s, stream)
}

// listen ends a call in which nobody is heard. What was heard
// before the answer is no talk. Silence during a hold is no fault, but a hold
// that outlasts both phones must end some day as well.
func (c *call) listen() State {
	heard := c.media.LastHeard()
	c.locate(heard)
	last := heard[A]
	if heard[B].After(last) {
		last = heard[B]
	}
	limit := c.x.o.Timing.MediaLater
	if !last.After(c.answeredAt) {
		limit = c.x.o.Timing.MediaFirst
	}
	if last.Before(c.quiet) {
		last = c.quiet
	}
	if c.held() {
		limit = c.x.o.Timing.MediaHeld
	}
	if time.Since(last) >= limit {
		c.finish(masking.CauseMediaTimeout, Reason{Cause: masking.CauseMediaTimeout})
		return Ending
	}
	c.arm(EvMediaCheck, c.x.o.Timing.MediaChecks)
	return Talking
}

// held reports whether a side has the call on hold: silence is then no fault.
func (c *call) held() bool {
	for _, n := range c.sides {
		if m, ok := n.theirs.Audio(); ok && m.Direction != sdp.SendRecv {
			return true
		}
	}
	return false
}

func (c *call) closeMedia() {
	if m := c.media; m != nil {
		c.media = nil
		if q := m.Close(); !c.answeredAt.IsZero() {
			c.record.Quality = q
		}
	}
}
