package e2e

import (
	"strings"
	"testing"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
)

// hidden are the spellings of one party's number that the other must not meet.
func hidden(number string) *testkit.LeakDetector { return testkit.NewLeakDetector(number) }

// Both carriers put the real number of their party into every header, parameter,
// body and packet that has room for one. Nothing of it may reach the other leg.
func TestNothingThatACarrierTellsReachesTheOtherLeg(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			ofAlice, ofBob := testkit.Leaky(alice), testkit.Leaky(bob)
			st := newStage(t, setting{network: network, in: ofAlice.Apply, out: ofBob.Apply})
			st.allocate(map[string]any{"custom_field": "order of nobody"})
			a := st.dial(st.in, alice, ofAlice.Invite, func(in *phone.Invite) { in.Audio = phone.Sine(440, 8000) })
			b := st.called()
			ringing := phone.Reply{Status: 183, Early: true, Audio: phone.Sine(880, 8000)}
			ofBob.Reply(&ringing)
			st.must(b.Ring(ringing))
			st.must(a.Ringing(st.ctx))
			answer := phone.Reply{Audio: phone.Sine(880, 8000)}
			ofBob.Reply(&answer)
			st.must(b.Answer(answer))
			st.must(a.Answered(st.ctx))
			st.must(a.HearsTone(st.ctx, 880))
			st.must(b.HearsTone(st.ctx, 440))
			midDialog(st, a, ofAlice)
			midDialog(st, b, ofBob)
			st.must(a.HearsTone(st.ctx, 880))
			st.must(b.Hangup(st.ctx, ofBob.Request...))
			st.over(a, b)
			testkit.AssertNoLeak(t, hidden(bob), "what reached the caller", a.Raw()...)
			testkit.AssertNoLeak(t, hidden(alice), "what reached the callee", b.Raw()...)
			noNumberInTheLog(st)
		})
	}
}

// midDialog has a side do everything that can be done within a call.
func midDialog(st *stage, c *phone.Call, of testkit.LeakyCarrier) {
	st.t.Helper()
	st.must(c.Reinvite(st.ctx, phone.Offer{Headers: of.Request}))
	st.must(c.Hold(st.ctx))
	st.must(c.Resume(st.ctx))
	st.must(c.Reinvite(st.ctx, phone.Offer{Update: true, NewPort: true, Headers: of.Request}))
	for _, method := range []string{"INFO", "OPTIONS", "MESSAGE", "NOTIFY", "REFER", "SUBSCRIBE", "PUBLISH"} {
		_, err := c.Send(st.ctx, phone.Request{Method: method, Headers: of.Request})
		st.must(err)
	}
	for _, body := range of.Bodies {
		_, err := c.Send(st.ctx, body)
		st.must(err)
	}
}

// Refusals and what follows them are told in our own words as well.
func TestNothingLeaksWhenTheCallIsNotAnswered(t *testing.T) {
	t.Parallel()
	ofAlice, ofBob := testkit.Leaky(alice), testkit.Leaky(bob)
	for _, status := range []int{302, 404, 480, 486, 500, 503, 603} {
		st := newStage(t, setting{in: ofAlice.Apply, out: ofBob.Apply})
		st.allocate(nil)
		a := st.dial(st.in, alice, ofAlice.Invite)
		b := st.called()
		st.must(b.Ring(phone.Reply{Status: 181, Headers: ofBob.Response}))
		headers := append(ofBob.Response, phone.Header{Name: "Contact", Value: "<sip:" + bob + "@forward.example>"})
		st.must(b.Reject(status, "moved to "+bob, headers...))
		st.over(a, b)
		st.settle()
		testkit.AssertNoLeak(t, hidden(bob), "what reached the caller", a.Raw()...)
		testkit.AssertNoLeak(t, hidden(alice), "what reached the callee", b.Raw()...)
		noNumberInTheLog(st)
	}
}

func TestACancelledCallTellsNothingEither(t *testing.T) {
	t.Parallel()
	ofAlice := testkit.Leaky(alice)
	st := newStage(t, setting{in: ofAlice.Apply})
	st.allocate(nil)
	a := st.dial(st.in, alice, ofAlice.Invite)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(a.Cancel(ofAlice.Request...))
	st.over(a, b)
	testkit.AssertNoLeak(t, hidden(alice), "what reached the callee", b.Raw()...)
	noNumberInTheLog(st)
}

// noNumberInTheLog looks through all that the server has logged and counted.
func noNumberInTheLog(st *stage) {
	st.t.Helper()
	d := testkit.NewLeakDetector(alice, bob)
	testkit.AssertNoLeak(st.t, d, "the log", []byte(st.Log.String()))
	metrics, err := st.Metrics()
	st.must(err)
	if !strings.Contains(metrics, "tandem_calls_live") {
		st.t.Error("no metrics")
	}
	testkit.AssertNoLeak(st.t, d, "the metrics", []byte(metrics))
}
