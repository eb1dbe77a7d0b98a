package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

func TestEitherSideCallsAndSeesOnlyTheVirtualNumber(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			st := newStage(t, setting{network: network})
			st.allocate(nil)
			for _, c := range []struct {
				p        *phone.Phone
				from, to string
			}{{st.in, alice, bob}, {st.out, bob, alice}} {
				a := st.dial(c.p, c.from, func(in *phone.Invite) { in.Audio = phone.Sine(440, 8000) })
				b := st.called()
				if seen := b.Seen(); seen.From != virtual || seen.RequestUser != c.to || seen.FromDisplay != "" {
					t.Errorf("%s was called by %q", seen.RequestUser, seen.From)
				}
				st.must(b.Ring(phone.Reply{}))
				st.must(a.Ringing(st.ctx))
				st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 8000)}))
				st.must(a.Answered(st.ctx))
				st.must(b.HearsTone(st.ctx, 440))
				st.must(a.HearsTone(st.ctx, 880))
				st.must(a.Hangup(st.ctx))
				st.over(a, b)
				st.settle()
			}
			want := []string{"call.ringing", "call.answered", "call.completed"}
			if got := st.types(); !slices.Equal(got, append(want, want...)) {
				t.Errorf("events: %v", got)
			}
			if n, err := st.CallCounts("acme"); err != nil || n != 2 {
				t.Errorf("call_count %d (%v), want 2", n, err)
			}
		})
	}
}

func TestAudioCrossesSampleBySample(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "PCMU"} {
		t.Run(codec, func(t *testing.T) {
			st := newStage(t, setting{})
			st.allocate(nil)
			a, b := talkThrough(st, codec, codec)
			st.must(b.Hangup(st.ctx))
			st.over(a, b)
			if r := st.record(); r.Cause != "callee_hung_up" {
				t.Errorf("cause %q", r.Cause)
			}
		})
	}
}

// contains reports whether want stands in heard as a whole.
func contains(heard, want []int16) bool {
	for i := 0; i+len(want) <= len(heard); i++ {
		if slices.Equal(heard[i:i+len(want)], want) {
			return true
		}
	}
	return false
}

// waitFor waits until something holds that nothing tells of.
func waitFor(t *testing.T, ctx context.Context, holds func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never came: %s", what)
		}
	}
}

func TestHoldResumeAndANewPortAreAnsweredAndAudioComesBack(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.Hold(st.ctx))
	before := a.Hearing().Packets
	st.must(b.Hears(st.ctx, len(b.Heard())+phone.Rate)) // the holder goes on to speak for a second
	if got := a.Hearing().Packets - before; got > 10 {
		t.Errorf("%d packets reached a side on hold in a second", got)
	}
	st.must(a.Resume(st.ctx))
	st.must(a.HearsTone(st.ctx, 880))
	st.must(b.Reinvite(st.ctx, phone.Offer{NewPort: true}))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.HearsTone(st.ctx, 880))
	st.must(a.Reinvite(st.ctx, phone.Offer{Update: true, NoOffer: true}))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

func TestACodecThatTheOtherSideLacksIsRefusedAndTheCallGoesOn(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	err := a.Reinvite(st.ctx, phone.Offer{Codecs: []string{"GSM"}})
	if status, ok := err.(*phone.StatusError); !ok || status.Code != 488 {
		t.Errorf("the offer got %v, want 488", err)
	}
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.HearsTone(st.ctx, 880))
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}
