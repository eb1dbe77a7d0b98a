package e2e

import (
	"testing"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// talkThrough sets up a call from the in carrier in which both say noise, each by the one
// codec that he has, and waits until each has heard the other sample by sample.
func talkThrough(st *stage, codecA, codecB string) (a, b *phone.Call) {
	st.t.Helper()
	forth, back := phone.Noise(1, 2*phone.Rate), phone.Noise(2, 2*phone.Rate)
	a = st.dial(st.in, alice, func(in *phone.Invite) { in.Codecs = []string{codecA, "telephone-event"} })
	b = st.called()
	st.hush.Store(true) // what the callee says before the server has read his answer is nobody's
	st.must(b.Answer(phone.Reply{Codecs: []string{codecB, "telephone-event"}}))
	st.must(a.Answered(st.ctx))
	st.hush.Store(false)
	a.Say(phone.Samples(forth))
	b.Say(phone.Samples(back))
	hearsAll(st, b, phone.Through(codecB, phone.Through(codecA, forth)))
	hearsAll(st, a, phone.Through(codecA, phone.Through(codecB, back)))
	return a, b
}

func hearsAll(st *stage, c *phone.Call, want []int16) {
	st.t.Helper()
	st.must(c.Hears(st.ctx, len(want)))
	waitFor(st.t, st.ctx, func() bool { return contains(c.Heard(), want) }, "what the other said, sample by sample")
}

func TestACallerTalksBySRTPToACalleeWithRTP(t *testing.T) {
	t.Parallel()
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
			a, b := talkThrough(st, "PCMA", "PCMA")
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
	t.Parallel()
	st := newStage(t, setting{in: func(in *phone.Options) { in.SRTP = sdp.Mandatory }})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.HearsTone(st.ctx, 880))
	suite := a.Protected()
	st.must(a.Hold(st.ctx))
	st.must(a.Resume(st.ctx))
	hearsMore(st, b, 440)
	st.must(b.Hold(st.ctx)) // which the caller is told of, by an offer of ours
	st.must(b.Resume(st.ctx))
	hearsMore(st, b, 440)
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

// protect sets what a trunk says of SRTP.
func (st *stage) protect(trunk, srtp string) {
	st.t.Helper()
	st.must(st.Do("", "PUT", "/v1/admin/trunks/"+trunk, map[string]any{"srtp": srtp}, nil))
	st.must(st.App.ReloadTrunks(st.ctx))
}

func TestACalleeIsOfferedSRTPAsHisTrunkSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trunk   string
		in, out phone.Options
		want    sdp.Suite // of the callee; "" = plain
	}{
		"required":                         {"required", phone.Options{}, phone.Options{SRTP: sdp.Mandatory}, sdp.GCM},
		"optional, taken":                  {"optional", phone.Options{}, phone.Options{SRTP: sdp.Optional, Suite: sdp.CM80}, sdp.CM80},
		"optional, not taken":              {"optional", phone.Options{}, phone.Options{}, ""},
		"off":                              {"off", phone.Options{}, phone.Options{SRTP: sdp.Optional}, ""},
		"each side by another suite":       {"required", phone.Options{SRTP: sdp.Mandatory, Suite: sdp.CM80}, phone.Options{SRTP: sdp.Mandatory, Suite: sdp.GCM}, sdp.GCM},
		"each side by a suite of one name": {"required", phone.Options{SRTP: sdp.Optional, Suite: sdp.CM80}, phone.Options{SRTP: sdp.Mandatory, Suite: sdp.CM80}, sdp.CM80},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{in: func(o *phone.Options) { o.SRTP, o.Suite = c.in.SRTP, c.in.Suite },
				out: func(o *phone.Options) { o.SRTP, o.Suite = c.out.SRTP, c.out.Suite }})
			st.allocate(nil)
			st.protect("carrier-out", c.trunk)
			a, b := talkThrough(st, "PCMA", "PCMA")
			if b.Protected() != c.want || a.Protected() != c.in.Suite {
				t.Errorf("the caller is protected by %q, the callee by %q", a.Protected(), b.Protected())
			}
			st.must(b.Reinvite(st.ctx, phone.Offer{Rekey: true}))
			st.must(b.Hold(st.ctx))
			st.must(b.Resume(st.ctx))
			if c.trunk == "off" { // what he offers himself is answered
				c.want = sdp.GCM
			}
			if b.Protected() != c.want {
				t.Errorf("after its offers the callee is protected by %q", b.Protected())
			}
			st.must(b.Hangup(st.ctx))
			st.over(a, b)
			st.settle()
		})
	}
}

func TestWhereATrunkRequiresSRTPNothingElseIsTalked(t *testing.T) {
	t.Parallel()
	t.Run("of a callee", func(t *testing.T) {
		st := newStage(t, setting{})
		st.allocate(nil)
		st.protect("carrier-out", "required")
		a := st.dial(st.in, alice)
		b := st.called()
		if err := b.Answer(phone.Reply{}); err == nil {
			t.Error("a phone without SRTP answers an offer of nothing else")
		}
		if status := st.refused(a); status/100 == 2 {
			t.Errorf("the caller got %d", status)
		}
	})
	t.Run("of a caller", func(t *testing.T) {
		st := newStage(t, setting{})
		st.allocate(nil)
		st.protect("carrier-in", "required")
		if status := st.refused(st.dial(st.in, alice)); status != 488 {
			t.Errorf("the caller got %d", status)
		}
		st.nobodyCalled()
		if r := st.record(); r.Cause != "no_common_media" {
			t.Errorf("cause %q", r.Cause)
		}
	})
}
