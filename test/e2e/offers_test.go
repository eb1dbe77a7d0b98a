package e2e

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// tones lets both sides of a call say something from now on, and waits until each
// hears the other: that what is heard is new shows that the way is open now.
func (st *stage) tones(a, b *phone.Call, ofA, ofB float64) {
	st.t.Helper()
	a.Say(phone.Sine(ofA, 8000))
	b.Say(phone.Sine(ofB, 8000))
	st.must(b.HearsTone(st.ctx, ofA))
	st.must(a.HearsTone(st.ctx, ofB))
}

// hungUp ends a call that talks and has nothing left of it.
func (st *stage) hungUp(a, b *phone.Call) {
	st.t.Helper()
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

func TestTheOtherSideIsOnHoldTooAndBothHearEachOtherAfterTheLastResume(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	st.tones(a, b, 440, 880)
	st.must(a.Hold(st.ctx))
	spoken := a.Hearing().Packets
	a.Say(phone.Sine(500, 8000)) // the holder goes on, as music would
	st.must(b.HearsTone(st.ctx, 500))
	if got := a.Hearing().Packets - spoken; got > 10 {
		t.Errorf("%d packets reached a side that holds in a second", got)
	}
	st.must(b.Hold(st.ctx))
	st.must(a.Resume(st.ctx))
	spoken = b.Hearing().Packets
	b.Say(phone.Sine(600, 8000)) // who holds now
	st.must(a.HearsTone(st.ctx, 600))
	if got := b.Hearing().Packets - spoken; got > 10 {
		t.Errorf("%d packets reached the other side, that holds, in a second", got)
	}
	st.must(b.Resume(st.ctx))
	st.tones(a, b, 700, 1200)
	st.must(b.Hold(st.ctx))
	st.must(b.Resume(st.ctx))
	st.tones(a, b, 440, 880)
	st.hungUp(a, b)
}

func TestBothSidesHoldAtOnceAndAreAnsweredWithEachOther(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	st.crossing(a, b)
	st.must(a.Resume(st.ctx))
	st.must(b.Resume(st.ctx))
	st.tones(a, b, 440, 880)
	st.hungUp(a, b)
}

// crossing lets both sides hold, so that their offers meet at the callee.
func (st *stage) crossing(a, b *phone.Call) {
	st.t.Helper()
	met, held := b.Refuse(491), make(chan error, 1)
	go func() { held <- a.Hold(st.ctx) }()
	select {
	case <-met:
	case <-st.ctx.Done():
		st.t.Fatal("the hold was not carried")
	}
	st.acked(b)
	st.must(b.Hold(st.ctx))
	st.must(<-held)
	st.acked(a, b)
}

// acked waits until every final response that the phones gave to an INVITE has its
// ACK, so that what happens next comes after it in every ladder.
func (st *stage) acked(calls ...*phone.Call) {
	st.t.Helper()
	for _, c := range calls {
		waitFor(st.t, st.ctx, func() bool {
			owed := 0
			for _, s := range c.Ladder() {
				switch {
				case s.Again:
				case s.Out && strings.HasPrefix(s.Line, "SIP/2.0 ") && s.Line[8] >= '2' && strings.HasSuffix(s.CSeq, " INVITE"):
					owed++
				case !s.Out && strings.HasPrefix(s.Line, "ACK "):
					owed--
				}
			}
			return owed == 0
		}, "the ACK of every final response")
	}
}

func Test491ToAnOfferIsFollowedByTheSameOffer(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	for _, p := range []struct{ holds, other *phone.Call }{{a, b}, {b, a}} {
		p.other.Refuse(491)
		st.must(p.holds.Hold(st.ctx))
		p.other.Refuse(491)
		st.must(p.holds.Resume(st.ctx))
		st.tones(a, b, 440, 880)
	}
	st.hungUp(a, b)
}

func TestAHoldThatTheOtherPhoneRefusesHoldsAllTheSame(t *testing.T) {
	t.Parallel()
	for _, status := range []int{488, 405, 501} {
		st := newStage(t, setting{})
		st.allocate(nil)
		a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
		b.Refuse(status)
		st.must(a.Hold(st.ctx))
		before := a.Hearing().Packets
		st.must(b.Hears(st.ctx, len(b.Heard())+phone.Rate))
		if got := a.Hearing().Packets - before; got > 10 {
			t.Errorf("%d packets reached a side that holds in a second", got)
		}
		st.must(a.Resume(st.ctx))
		st.tones(a, b, 500, 600)
		st.hungUp(a, b)
	}
}

func TestAChangeOfCodecIsCarriedToTheOtherSide(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	wide := []string{"PCMA", "G722", "telephone-event"}
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Codecs = wide })
	b := st.called()
	st.must(b.Answer(phone.Reply{Codecs: []string{"PCMA", "telephone-event"}}))
	st.must(a.Answered(st.ctx))
	st.tones(a, b, 440, 880)
	st.must(b.Reinvite(st.ctx, phone.Offer{Codecs: []string{"G722", "telephone-event"}}))
	st.tones(a, b, 500, 600)
	st.must(b.Reinvite(st.ctx, phone.Offer{Codecs: []string{"PCMA", "telephone-event"}, Update: true}))
	st.tones(a, b, 440, 880)
	err := a.Reinvite(st.ctx, phone.Offer{Codecs: []string{"opus"}}) // which B has not
	if status := (*phone.StatusError)(nil); !errors.As(err, &status) || status.Code != 488 {
		t.Errorf("the offer got %v, want 488", err)
	}
	st.tones(a, b, 500, 600)
	st.hungUp(a, b)
}

func TestADelayedOfferIsACallInWhichBothAreHeard(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "PCMU"} {
		t.Run(codec, func(t *testing.T) {
			st := newStage(t, setting{})
			st.allocate(nil)
			a := st.dial(st.in, alice, func(in *phone.Invite) { in.NoOffer, in.Codecs = true, []string{codec, "telephone-event"} })
			b := st.called()
			st.must(b.Answer(phone.Reply{Codecs: []string{"PCMA", "telephone-event"}}))
			st.must(a.Answered(st.ctx))
			st.must(b.Answered(st.ctx))
			st.tones(a, b, 440, 880)
			for _, side := range []*phone.Call{a, b} {
				st.must(side.Reinvite(st.ctx, phone.Offer{NoOffer: true}))
				st.tones(a, b, 500, 600)
			}
			st.must(a.Hold(st.ctx))
			st.must(a.Reinvite(st.ctx, phone.Offer{NoOffer: true, Direction: sdp.SendRecv})) // whose answer resumes
			st.tones(a, b, 440, 880)
			st.hungUp(a, b)
		})
	}
}

func TestADelayedOfferOfACallerWithAPIN(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	p, err := st.OpenPin("acme", virtual, []string{alice}, []string{bob}, nil)
	st.must(err)
	a := st.asked(st.in, alice, func(in *phone.Invite) { in.NoOffer = true })
	st.must(a.Hears(st.ctx, phone.Rate)) // the question
	st.must(a.Press(st.ctx, p.PIN, phone.Press{}))
	b := st.talks(a)
	st.hungUp(a, b)
}

// The waits for media are a second here; a call in which nothing is heard shows that
// they have run out.
func TestAHeldCallOutlivesTheWaitsForMedia(t *testing.T) {
	t.Parallel()
	var deaf atomic.Bool
	lose := func(o *phone.Options) { o.Lose = func([]byte) bool { return deaf.Load() } }
	st := newStage(t, setting{in: lose, out: lose, edit: func(o *app.Options) {
		o.CallWaits = b2bua.Timing{MediaFirst: time.Second, MediaLater: time.Second, MediaChecks: 50 * time.Millisecond}
	}})
	st.allocate(nil)
	_, err := st.Allocate("acme", second, []string{carol}, []string{dave}, nil)
	st.must(err)
	a, b := st.talk(alice, nil, nil)
	st.must(a.Reinvite(st.ctx, phone.Offer{Direction: sdp.Inactive}))
	st.must(b.Reinvite(st.ctx, phone.Offer{Direction: sdp.Inactive}))
	for range 3 {
		deaf.Store(true)
		c := st.dial(st.in, carol, func(in *phone.Invite) { in.To = second })
		d := st.called()
		st.must(d.Answer(phone.Reply{}))
		st.must(c.Answered(st.ctx))
		st.over(c, d)
		deaf.Store(false)
	}
	st.must(a.Resume(st.ctx))
	st.must(b.Resume(st.ctx))
	st.tones(a, b, 440, 880)
	st.hungUp(a, b)
}
