package e2e

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
)

// swift makes a second of Session-Expires five milliseconds.
func swift(o *app.Options) { o.SIPSecond = 5 * time.Millisecond }

var supportsTimer = phone.Header{Name: "Supported", Value: "timer"}

func expires(value string) []phone.Header {
	return []phone.Header{supportsTimer, {Name: "Session-Expires", Value: value}}
}

// requests waits until a phone has got so many requests of a method.
func (st *stage) requests(c *phone.Call, method string, n int) {
	st.t.Helper()
	waitFor(st.t, st.ctx, func() bool {
		got := 0
		for _, s := range c.Ladder() {
			if !s.Out && !s.Again && strings.HasPrefix(s.Line, method+" ") {
				got++
			}
		}
		return got >= n
	}, method)
}

func TestBothLegsAreKeptAliveEachInItsOwnTime(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{edit: swift})
	st.allocate(nil)
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Headers = expires("100;refresher=uas") })
	b := st.called()
	st.must(b.Answer(phone.Reply{Headers: append(expires("300;refresher=uac"), phone.Header{Name: "Require", Value: "timer"})}))
	st.must(a.Answered(st.ctx))
	st.requests(a, "UPDATE", 6)
	st.requests(b, "UPDATE", 2)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	if r := st.record(); r.Cause != "caller_hung_up" {
		t.Errorf("cause %q", r.Cause)
	}
}

func TestASessionThatASideDoesNotRefreshEndsBothLegsAndTheRecordSaysSo(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(a *phone.Invite, b *phone.Reply){
		"the caller does not": func(a *phone.Invite, _ *phone.Reply) { a.Headers = expires("90;refresher=uac") },
		"the callee does not": func(_ *phone.Invite, b *phone.Reply) { b.Headers = expires("90;refresher=uas") },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{edit: swift})
			st.allocate(nil)
			var reply phone.Reply
			a := st.dial(st.in, alice, func(in *phone.Invite) { edit(in, &reply) })
			b := st.called()
			st.must(b.Answer(reply))
			st.over(a, b)
			if r := st.record(); r.Cause != "session_expired" {
				t.Errorf("cause %q", r.Cause)
			}
		})
	}
}
