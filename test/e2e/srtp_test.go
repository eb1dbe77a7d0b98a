package e2e

import (
	"testing"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// talkThrough sets up a call from the in carrier in which both say noise, and waits
// until each has heard the other sample by sample.
func talkThrough(st *stage, codecA, codecB []string) (a, b *phone.Call) {
	st.t.Helper()
	forth, back := phone.Noise(1, 2*phone.Rate), phone.Noise(2, 2*phone.Rate)
	a = st.dial(st.in, alice, func(in *phone.Invite) { in.Audio, in.Codecs = phone.Samples(forth), codecA })
	b = st.called()
	st.must(b.Answer(phone.Reply{Audio: phone.Samples(back), Codecs: codecB}))
	st.must(a.Answered(st.ctx))
	hearsAll(st, b, phone.Through("PCMA", forth))
	hearsAll(st, a, phone.Through("PCMA", back))
	return a, b
}

func hearsAll(st *stage, c *phone.Call, want []int16) {
	st.t.Helper()
	waitFor(st.t, st.ctx, func() bool { return contains(c.Heard(), want) }, "what the other said, sample by sample")
}

var onlyALaw = []string{"PCMA", "telephone-event"}

func TestACallerTalksBySRTPToACalleeWithRTP(t *testing.T) {
	for name, o := range map[string]phone.Options{
		"RTP/SAVP":                  {SRTP: sdp.Mandatory},
		"RTP/AVP with keys":         {SRTP: sdp.Optional},
		"counter mode":              {SRTP: sdp.Mandatory, Suite: sdp.CM80},
		"GCM":                       {SRTP: sdp.Mandatory, Suite: sdp.GCM},
		"by one port with its RTCP": {SRTP: sdp.Mandatory, Mux: true},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{in: func(in *phone.Options) { in.SRTP, in.Suite, in.Mux = o.SRTP, o.Suite, o.Mux }})
			st.allocate(nil)
			a, b := talkThrough(st, onlyALaw, onlyALaw)
			if a.Protected() == "" || b.Protected() != "" || o.Suite != "" && a.Protected() != o.Suite {
				t.Errorf("the caller is protected by %q, the callee by %q", a.Protected(), b.Protected())
			}
			st.must(a.Hangup(st.ctx))
			st.over(a, b)
			c, err := st.Call("acme", st.record().ID)
			st.must(err)
			if q := c.Quality; q == nil || q.Caller.Strays+q.Callee.Strays != 0 || q.Caller.PacketsLost+q.Callee.PacketsLost != 0 {
				t.Errorf("quality %+v", q)
			}
		})
	}
}

func TestHoldNewKeysAndANewPortKeepAProtectedCallGoing(t *testing.T) {
	st := newStage(t, setting{in: func(in *phone.Options) { in.SRTP = sdp.Mandatory }})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.HearsTone(st.ctx, 880))
	suite := a.Protected()
	st.must(a.Hold(st.ctx))
	st.must(a.Resume(st.ctx))
	for _, o := range []phone.Offer{{}, {Rekey: true}, {NewPort: true}} {
		st.must(a.Reinvite(st.ctx, o))
		hearsMore(st, a, 880)
		hearsMore(st, b, 440)
	}
	if a.Protected() != suite || suite == "" {
		t.Errorf("protected by %q, then by %q", suite, a.Protected())
	}
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

// hearsMore waits until half a second more is heard, and looks for a tone at its end.
func hearsMore(st *stage, c *phone.Call, hertz float64) {
	st.t.Helper()
	st.must(c.Hears(st.ctx, len(c.Heard())+phone.Rate/2))
	st.must(c.HearsTone(st.ctx, hertz))
}
