package b2bua

import (
	"errors"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// This file carries offers and answers between the sides of a call that talks, as
// the table in dealing.go says.
//
// The other side is asked when its stream becomes another one: who may speak
// (hold, resume), or a codec that it has not, or was never asked about. All else is
// between a side and us: a new address, other packet times, a refresh, the other
// law of G.711. What the other side refuses is answered as far as it goes without
// it: a hold then holds the relay alone.

// deal is where the offers and answers of a call stand.
type deal struct {
	at      dealing
	from    Side             // whose offer is carried or voided
	offer   *sdp.Description // which one
	to      Side             // for whom our offer is
	body    []byte           // what it says
	handed  bool             // it stands in a 2xx to that side
	before  told             // what that side was told before
	later   []Event          // offers that wait, at most one of a side; see wait
	inAck   [2]bool          // an offer that is a side's and ours alone stands in a 2xx to it, whose ACK answers it
	past    [2]*negotiated   // a side as it was before its last offer, which it may take back though it is answered
	recheck [2]bool          // sides whose stream may have become another one; see takeUp
}

// heed takes in what a side says.
func (c *call) heed(s Side, d *sdp.Description) {
	if c.state == Talking && c.held() {
		c.quiet = time.Now()
	}
	n := &c.sides[s]
	m, _ := d.Audio()
	n.wish, n.theirs = n.wishes(m), d
	n.numbers.Learn(m)
}

// wishes is what a side would do with its stream if it could, once it has said m. A
// side that we do not let speak, or hear, cannot say that it wants to: its answer
// must not (RFC 3264 §6.1), and many offer what was agreed on last.
func (n *negotiated) wishes(m sdp.Media) sdp.Direction {
	told, _ := n.ours.Audio() // of nothing: both
	return sdp.DirectionOf(m.Direction.Sends() || !told.Direction.Receives() && n.wish.Sends(),
		m.Direction.Receives() || !told.Direction.Sends() && n.wish.Receives())
}

// renew takes an offer that a side makes within the call.
func (c *call) renew(e Event) {
	leg := c.leg(e.Side)
	if leg == nil {
		return
	}
	c.deal.past[e.Side] = nil
	e.read()
	switch {
	case c.state == Talking:
		c.dealWith(c.moveOf(e), e)
	case e.Side != A || !c.taken:
		leg.RefuseOffer()
	case len(e.Body) == 0:
		c.offerHere(A)
	default:
		c.answerHere(e)
	}
}

// read reads an offer, once. What cannot be read is refused where it is answered.
func (e *Event) read() {
	if e.offer == nil && len(e.Body) > 0 {
		e.offer, _ = sdp.Parse(e.Body)
	}
}

// settle takes the answer to an offer of ours, or the news that there is none.
func (c *call) settle(e Event) State {
	if c.leg(e.Side) == nil || c.state != Talking && (e.Side != A || !c.deal.inAck[A]) {
		return c.state
	}
	if c.refusesMove(e) {
		return c.lose()
	}
	first := c.sides[e.Side].theirs == nil
	if c.state == Talking {
		c.dealWith(c.moveOf(e), e)
	} else {
		c.deal.inAck[A] = false
		c.takeAnswer(e)
	}
	if first && c.sides[e.Side].theirs == nil { // it began without an offer and goes without an answer
		c.finish(masking.CauseNoMedia, Reason{Cause: masking.CauseNoMedia})
		return Ending
	}
	return c.state
}

// moveOf says what an event means for the offers and answers.
func (c *call) moveOf(e Event) move {
	d := &c.deal
	open := d.at != settled && e.Side == d.to
	inAck := d.inAck[e.Side]
	switch e.Kind {
	case EvWithdrawn:
		switch {
		case d.at == carried && e.Side == d.from:
			return withdraws
		case open && d.handed:
			return handsBack
		}
		return withdrawsLate
	case EvAgreed, EvDeclined:
		d.inAck[e.Side] = false
		switch {
		case inAck && e.Kind == EvAgreed:
			return closes
		case inAck:
			return closesWithout
		case open && e.Kind == EvAgreed:
			return agrees
		case open:
			return declines
		}
		return moves // to nothing that is out
	}
	switch {
	case open && len(e.Body) == 0:
		return crossesAsking
	case open:
		return crosses
	case len(e.Body) == 0:
		return asksOffer
	case c.changes(e):
		return offersChange
	}
	return offersSame
}

// dealWith does what the table says.
func (c *call) dealWith(m move, e Event) {
	d := &c.deal
	switch do := deals[d.at][m].do; {
	case e.Kind == EvWithdrawn && c.forget(e.Side):
	case e.Kind == EvOffered && d.inAck[e.Side]: // its ACK is on the way
		d.wait(e)
	case do == defer_:
		d.wait(e)
	default:
		c.do(do, e)
	}
	c.takeUp()
}

// do is one act of the table.
func (c *call) do(act dealAct, e Event) {
	d := &c.deal
	switch act {
	case answerHere:
		c.answerHere(e)
	case carry:
		c.carry(e)
	case offerHere:
		c.offerHere(e.Side)
	case handOver:
		d.handed = true
		c.leg(e.Side).Answer(d.body)
	case offerAgain:
		d.handed = false
		c.leg(e.Side).Offer(d.body)
	case meet:
		c.retract()
		c.meet(d.from, d.offer, e)
	case conclude:
		c.conclude(e)
	case giveWay:
		c.giveWay()
	case void:
		d.at = voided
	case restore:
		c.takeAnswer(e)
		c.freeOfferer()
		d.recheck[d.to] = true
	case release:
		c.retract()
		c.freeOfferer()
		if e.Kind == EvOffered {
			c.renew(e)
		}
	case take:
		c.takeAnswer(e)
		d.recheck[e.Side.other()] = true
	case takeLast:
		c.takeAnswer(e)
		d.at = settled
	case undo:
		c.undo(e.Side)
	}
}

// changes reports whether an offer of a side makes the other side's stream another
// one. One that was made before word for word does not.
func (c *call) changes(e Event) bool {
	s := e.Side
	if c.usable(e) != nil || e.offer.Same(c.sides[s].theirs) {
		return false
	}
	to := &c.sides[s.other()]
	if to.theirs == nil { // and has not yet said what it can do
		return true
	}
	m, _ := e.offer.Audio()
	return to.stream() != sdp.Meet(c.sides[s].wishes(m), to.wish) || c.wantsCodec(m, s.other())
}

// stream is what a side's stream is now, seen from us.
func (n *negotiated) stream() sdp.Direction {
	ours, _ := n.ours.Audio()
	theirs, _ := n.theirs.Audio()
	return sdp.Meet(ours.Direction, theirs.Direction)
}

// wantsCodec reports whether m cannot take what a side has agreed to speak, or would
// rather have a codec that this side was never asked about.
func (c *call) wantsCodec(m sdp.Media, to Side) bool {
	theirs, _ := c.sides[to].theirs.Audio()
	ours, _ := c.sides[to].ours.Audio()
	agreed := sdp.Agreed(theirs, ours).Formats
	if n := sdp.Speech(agreed); n == 0 || sdp.Speech(m.Takes(agreed)) < n {
		return true
	}
	best, _ := m.Favourite()
	return !c.fixed() && !c.sides[to].numbers.Know(best)
}

// fixed reports whether the call is of G.711 and stays so: it is recorded, or the
// caller was answered before anybody else.
func (c *call) fixed() bool { return c.taken || c.plan.Allocation.Record }

// errUnreadable says that an offer is no description.
var errUnreadable = errors.New("the offer cannot be read")

// usable reports whether something can be made of an offer within the call.
func (c *call) usable(e Event) error {
	switch d := e.offer; {
	case d == nil:
		return errUnreadable
	case c.fixed() && c.sides[e.Side].ours.HasG711() && !d.HasG711():
		return sdp.ErrNoCommonCodec
	default:
		return sdp.CheckOffer(d)
	}
}

// answerHere answers an offer of a side from what the other side has, or refuses it.
func (c *call) answerHere(e Event) {
	if c.usable(e) != nil {
		c.leg(e.Side).RefuseOffer()
		return
	}
	c.answer(e.Side, e.offer)
}

// answer is answerHere for an offer that was read, and reports whether it took it.
func (c *call) answer(s Side, d *sdp.Description) bool {
	before := c.sides[s]
	c.sides[s].rekey(d)
	c.heed(s, d)
	body, err := c.say(s, func(l sdp.Local) ([]byte, error) {
		choice, err := c.capable(s, d)
		if err != nil {
			return nil, err
		}
		return sdp.Answer(d, choice, l)
	})
	if err != nil {
		c.sides[s] = before
		c.leg(s).RefuseOffer()
		return false
	}
	c.repoint()
	c.deal.past[s] = &before
	c.leg(s).Answer(body)
	return true
}

// capable is what an offer of a side, made within the call, is answered from: what
// the other side has, or, where we turn the one law into the other, any G.711.
func (c *call) capable(s Side, offer *sdp.Description) (*sdp.Description, error) {
	other := &c.sides[s.other()]
	if c.taken {
		voice, err := sdp.Voice(offer)
		if err == nil && c.state == Talking {
			voice.Media[0].Direction = other.wish
		}
		return voice, err
	}
	has := other.theirs
	if has == nil { // its ACK is still to say what it has of this
		has = other.ours
	}
	choice := toward(has, other.wish)
	if c.plan.Allocation.Record {
		choice = sdp.OnlyG711(choice)
	}
	return choice, nil
}

// offerHere makes a side that asks for an offer one of what the other side has, and
// of the other law of G.711; the side's ACK answers it.
func (c *call) offerHere(s Side) {
	n, other, before := &c.sides[s], &c.sides[s.other()], c.sides[s]
	audio, _ := n.ours.Audio()
	audio.Direction = sdp.SendRecv
	if c.state == Talking {
		has := other.theirs
		if c.taken || has == nil {
			has = n.ours
		}
		if c.plan.Allocation.Record {
			has = sdp.OnlyG711(has)
		}
		m, _ := has.Audio()
		audio.Formats, audio.Direction = n.numbers.Assign(m.Formats), other.wish
	}
	body, err := c.say(s, func(l sdp.Local) ([]byte, error) { return sdp.Reoffer(n.ours, audio, l), nil })
	if err != nil {
		c.leg(s).RefuseOffer()
		return
	}
	c.deal.inAck[s], c.deal.past[s] = true, &before
	c.leg(s).Answer(body)
}

// carry asks the other side about an offer that changes its stream. The side that
// made it waits for the answer. An ACK that is still to come may make everything
// another thing, and a side whose own offer waits is made none.
func (c *call) carry(e Event) {
	d, to := &c.deal, e.Side.other()
	if c.usable(e) != nil {
		c.leg(e.Side).RefuseOffer()
		return
	}
	if d.inAck != [2]bool{} {
		d.wait(e)
		return
	}
	if own, waits := d.next(to); waits {
		c.meet(e.Side, e.offer, own)
		return
	}
	m, _ := e.offer.Audio()
	d.from, d.offer = e.Side, e.offer
	if !c.propose(to, m, c.sides[e.Side].wishes(m)) {
		c.answer(e.Side, e.offer)
		return
	}
	d.at = carried
}

// propose makes a side an offer: of what from has where that wants another codec,
// else of what was agreed on before and from has still.
func (c *call) propose(to Side, from sdp.Media, wish sdp.Direction) bool {
	n := &c.sides[to]
	audio, _ := n.ours.Audio()
	if audio.Formats = from.Takes(audio.Formats); c.wantsCodec(from, to) {
		audio.Formats, audio.Ptime, audio.MaxPtime = n.numbers.Assign(from.Formats), from.Ptime, from.MaxPtime
	}
	audio.Direction = wish
	before := n.told
	body, err := c.say(to, func(l sdp.Local) ([]byte, error) { return sdp.Reoffer(before.ours, audio, l), nil })
	if err != nil {
		c.log.Warn("an offer cannot be made", "error", err.Error())
		return false
	}
	c.deal.to, c.deal.body, c.deal.handed, c.deal.before = to, body, false, before
	c.leg(to).Offer(body)
	return true
}

// retract forgets our offer: what that side was told before holds. Its version has
// been used all the same.
func (c *call) retract() {
	c.sides[c.deal.to].told = c.deal.before
	c.change()
}

// freeOfferer lets the side whose offer was taken back make the next.
func (c *call) freeOfferer() {
	if c.deal.at == voided {
		c.leg(c.deal.from).RefuseOffer() // which goes nowhere
	}
	c.deal.at = settled
}

// takeAnswer takes in a side's answer to an offer of ours. One that we can make nothing of
// changes nothing.
func (c *call) takeAnswer(e Event) bool {
	d, err := sdp.Parse(e.Body)
	if err == nil {
		ours, _ := c.sides[e.Side].ours.Audio()
		theirs, _ := d.Audio()
		_, err = sdp.Common(ours, theirs)
	}
	if err != nil {
		c.log.Info("an answer cannot be carried", "reason", err.Error())
		return false
	}
	c.heed(e.Side, d)
	c.repoint()
	return true
}

// conclude answers the side that waits with what the other side has agreed to.
func (c *call) conclude(e Event) {
	if !c.takeAnswer(e) {
		c.giveWay()
		return
	}
	c.deal.at = settled
	if !c.answer(c.deal.from, c.deal.offer) {
		c.deal.recheck[c.deal.to] = true // it has agreed to what is not to be
	}
}

// giveWay answers the side that waits as far as that goes without the other one.
func (c *call) giveWay() {
	c.retract()
	c.deal.at = settled
	c.answer(c.deal.from, c.deal.offer)
}

// meet answers each side with the offer of the other: from's, and the one of e.
func (c *call) meet(from Side, offer *sdp.Description, e Event) {
	c.deal.at = settled
	before := c.sides[from]
	c.heed(from, offer)
	c.answerHere(e)
	c.sides[from] = before
	if !c.answer(from, offer) {
		c.deal.recheck[e.Side] = true // as in conclude
	}
}

// align offers a side what the other side wants of it, if its stream is another one,
// or has to have other keys.
func (c *call) align(to Side) {
	n, other := &c.sides[to], &c.sides[to.other()]
	m, ok := other.theirs.Audio()
	_, known := n.theirs.Audio()
	if !ok || !known || n.stream() == sdp.Meet(other.wish, n.wish) && !c.wantsCodec(m, to) && !n.keyless() {
		return
	}
	if c.propose(to, m, other.wish) {
		c.deal.at = following
	}
}

// repoint connects both sides of the relay anew.
func (c *call) repoint() {
	for _, s := range []Side{A, B} {
		if err := c.point(s); err != nil {
			c.log.Warn("media cannot be moved", "error", err.Error())
		}
	}
}

// toward is d with its streams in the given direction.
func toward(d *sdp.Description, to sdp.Direction) *sdp.Description {
	open := *d
	open.Media = slices.Clone(d.Media)
	for i := range open.Media {
		open.Media[i].Direction = to
	}
	return &open
}
