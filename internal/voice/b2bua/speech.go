package b2bua

import (
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// This file is what Tandem itself says to the sides of a call.

const (
	partTotal = 20 * time.Second // words end by themselves; this is for a side that cannot be spoken to
	busyTotal = 4 * time.Second  // of busy tone
)

// utter says something to a side, in place of what it hears now.
func (c *call) utter(s Side, sound Sound) {
	c.spoken[s]++
	n := c.spoken[s]
	c.media.Say(s, c.words(sound, func() { c.post(Event{Kind: EvPlayed, Side: s, Attempt: n}) }))
}

// words are a sound as the callers of the call's tenant hear it.
func (c *call) words(sound Sound, done func()) Words {
	t := c.plan.Tenant
	return Words{Sound: sound, Tenant: t.ID, Language: t.Settings.Language, Country: t.Settings.Country, Done: done}
}

// hush ends what is said to a side.
func (c *call) hush(s Side) {
	c.spoken[s]++
	c.media.Hush(s)
}

// announce tells a stranger, before any answer, that he cannot be connected; then
// his INVITE is refused. It is the same for every reason, and it
// costs bounded ports: beyond that a stranger hears nothing.
func (c *call) announce(r masking.Ruling) State {
	c.plan = r.Plan
	c.refused(r)
	c.farewell = Reason{masking.CauseRejected, r.Refusal}
	if !c.x.takeAnnouncement(c) {
		return c.part(Event{})
	}
	err := c.readOffer()
	if len(c.in.Offer) == 0 {
		err = errNoOffer // whose answer could come only with an answer to his call
	}
	var body []byte
	if err == nil {
		body, err = c.speakAlone()
	}
	if err != nil {
		c.log.Debug("a stranger cannot be spoken to", "reason", err.Error())
		return c.part(Event{})
	}
	c.in.Leg.Speak(body)
	return c.leaveWith(SoundNotAvailable, c.farewell)
}

// leaveWith tells the caller why he is not connected, if he can hear it, and ends
// his leg then.
func (c *call) leaveWith(sound Sound, why Reason) State {
	c.farewell = why
	c.disarm()
	c.media.Listen(A, nil)
	limit := partTotal
	if sound == ToneBusy {
		limit = busyTotal
	}
	c.utter(A, sound)
	c.arm(EvTotalTime, limit)
	return Parting
}

// part ends the call of somebody who has heard why, or will not listen.
func (c *call) part(e Event) State {
	why := c.farewell
	if e.Kind == EvCancelled { // RFC 3261 §9.2: 487, whatever we would have said
		why = Reason{Cause: masking.CauseCallerCancelled}
	}
	cause := c.farewell.Cause
	if e.Kind == EvBlocked {
		cause = masking.CauseLeakBlocked
	}
	c.finish(cause, why)
	return Ending
}

// ringBack lets a caller who was answered already hear that it rings.
func (c *call) ringBack() {
	if c.taken {
		c.utter(A, ToneRingBack)
	}
}

// startTape records a call that is to be recorded, when both sides have heard the
// notice if they are to hear one. What is said meanwhile reaches nobody.
func (c *call) startTape() {
	switch {
	case !c.plan.Allocation.Record:
	case c.plan.Tenant.Settings.RecordingNotice:
		c.notices = 2
		c.utter(A, SoundRecorded)
		c.utter(B, SoundRecorded)
	default:
		c.media.Record(c.record.ID, c.record.Tenant)
	}
}

// noticed counts a side that has heard the notice.
func (c *call) noticed() {
	if c.notices--; c.notices == 0 {
		c.media.Record(c.record.ID, c.record.Tenant)
		c.record.Recorded = true
		c.note(masking.Taped)
	}
}

// passKey passes on a key that a side told by INFO, unless it tells its keys in
// the media as well, where the relay passes them on: one press, one digit.
func (c *call) passKey(e Event) {
	theirs, _ := c.sides[e.Side].theirs.Audio()
	ours, _ := c.sides[e.Side].ours.Audio()
	if other := c.leg(e.Side.other()); e.By == ByInfo && other != nil && sdp.Events(ours, theirs) == sdp.None {
		other.Press(e.Digit)
	}
}
