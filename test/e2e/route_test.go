package e2e

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
)

func TestWhoMayNotPassHearsTheSameWordsAndRingsNobody(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	st := newStage(t, setting{edit: func(o *app.Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	a := st.allocate(map[string]any{"duration": 3600})
	to := func(number string) func(*phone.Invite) { return func(in *phone.Invite) { in.To = number } }
	for name, c := range map[string]struct {
		from   string
		edit   func(*phone.Invite)
		status int
	}{
		"a stranger":                         {carol, to(virtual), 403},
		"a party on another number":          {alice, to(second), 403},
		"a number in nobody's pool":          {alice, to("+914099999999"), 404},
		"no number at all":                   {alice, to("reception"), 404},
		"a withheld caller":                  {"anonymous", to(virtual), 433},
		"an extension that nobody knows":     {alice, func(in *phone.Invite) { in.Headers = []phone.Header{{Name: "Require", Value: "x-none"}} }, 420},
		"a description without speech codec": {alice, func(in *phone.Invite) { in.SDPLines = []string{"s=x"}; in.Codecs = []string{"telephone-event"} }, 488},
	} {
		t.Run(name, func(t *testing.T) {
			if got := st.refused(st.dial(st.in, c.from, c.edit)); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
		})
	}
	ahead.Store(int64(3601 * time.Second))
	if got := st.refused(st.dial(st.in, alice)); got != 403 {
		t.Errorf("one second after its expiry, not swept or just so: %d, want 403", got)
	}
	ahead.Store(0)
	_ = st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+a.ID, nil, nil)
	if got := st.refused(st.dial(st.in, alice)); got != 403 {
		t.Errorf("after a delete: %d, want 403", got)
	}
	st.nobodyCalled()
	st.settle()
}

func TestAStrangersSourceGetsNothing(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	nobody := st.newPhone(phone.Options{IP: netip.MustParseAddr("127.0.0.77")})
	c := st.dial(nobody, alice)
	waitFor(t, st.ctx, func() bool { return st.App.DroppedSources() > 0 }, "the drop in the count")
	if n := len(c.Ladder()); n == 0 || slices.ContainsFunc(c.Ladder(), func(s phone.Step) bool { return !s.Out }) {
		t.Error("a stranger was answered")
	}
	st.nobodyCalled()
}

func TestOnewayRefusesTheCallBackAndTellsOfIt(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(map[string]any{"usage": "oneway"})
	a, b := st.talk(alice, nil, nil)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	if got := st.refused(st.dial(st.out, bob)); got != 403 {
		t.Errorf("the call back got %d", got)
	}
	if got := st.types(); got[len(got)-1] != "call.rejected" {
		t.Errorf("events %v", got)
	}
	events, err := st.Events("acme")
	st.must(err)
	var data struct {
		Reason    string `json:"reason"`
		GreenVNID string `json:"greenvn_id"`
	}
	st.must(json.Unmarshal(events[len(events)-1].Data, &data))
	if data.Reason != "wrong_direction" || !strings.HasPrefix(data.GreenVNID, "gvn_") {
		t.Errorf("call.rejected says %+v", data)
	}
}

func TestACallerHasOneCallAtATime(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	if got := st.refused(st.dial(st.in, alice)); got != 486 {
		t.Errorf("the second call got %d, want 486", got)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	a, b = st.talk(alice, nil, nil) // at once: the first call's place is free with its end
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
	if n, err := st.CallCounts("acme"); err != nil || n != 3 {
		t.Errorf("call_count %d (%v), want 3: the busy one matched as well", n, err)
	}
}

func TestTheHuntGoesOnUntilSomebodyAnswers(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.must(st.Do("", "PUT", "/v1/admin/tenants/acme", map[string]any{"ring_seconds": 5, "ring_total_seconds": 60}, nil))
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol, dave}, nil)
	st.must(err)
	a := st.dial(st.in, alice)
	first := st.called()
	st.must(first.Reject(486, ""))
	next := st.called()
	st.must(next.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	last := st.called() // after 5 s: carol does not answer and is cancelled
	end, err := next.Ended(st.ctx)
	if err != nil || end.ByUs {
		t.Errorf("carol's phone: %+v, %v", end, err)
	}
	st.must(last.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	for i, c := range []*phone.Call{first, next, last} {
		if got, want := c.Seen().RequestUser, []string{bob, carol, dave}[i]; got != want || c.Seen().From != virtual {
			t.Errorf("attempt %d rang %q", i, got)
		}
	}
	st.must(last.Hangup(st.ctx))
	st.over(a, last)
	r := st.record()
	if r.Cause != "callee_hung_up" || r.To != dave {
		t.Errorf("record: %+v", r)
	}
}

func TestWhenNobodyAnswersTheCallerIsToldWhatTellsMost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		statuses [2]int
		want     int
	}{"busy before unreachable": {[2]int{486, 404}, 486}, "declined before failed": {[2]int{603, 500}, 603}, "unreachable": {[2]int{404, 404}, 480}} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{})
			_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol}, nil)
			st.must(err)
			a := st.dial(st.in, alice)
			for _, status := range c.statuses {
				st.must(st.called().Reject(status, ""))
			}
			if got := st.refused(a); got != c.want {
				t.Errorf("the caller heard %d, want %d", got, c.want)
			}
			st.settle()
		})
	}
}

func TestTheNextTrunkIsTriedWhenOneIsDead(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{edit: impatient})
	dead := st.newPhone(phone.Options{IP: netip.MustParseAddr("127.0.0.4")})
	addr := dead.Addr().String()
	st.must(dead.Close())
	st.must(st.AddTrunk("carrier-dead", map[string]any{"sources": []string{"127.0.0.4/32"}, "targets": []string{addr}, "priority": 0}))
	st.allocate(nil)
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	if r := st.record(); r.Cause != "caller_hung_up" {
		t.Errorf("record: %+v", r)
	}
}

func TestATrunkShowsOnlyTheCallerIDsItMay(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.must(st.Do("", "PUT", "/v1/admin/trunks/carrier-out", map[string]any{"caller_ids": []string{second}}, nil))
	st.must(st.App.ReloadTrunks(st.ctx))
	st.allocate(nil)
	if got := st.refused(st.dial(st.in, alice)); got != 480 {
		t.Errorf("status %d, want 480", got)
	}
	st.nobodyCalled()
	st.settle()
}
