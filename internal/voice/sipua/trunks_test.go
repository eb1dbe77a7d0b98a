package sipua

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/voice/b2bua"
)

func TestTheTrunkOfAnAddressIsTheOneWithTheLongestPrefix(t *testing.T) {
	r := newRig(t)
	p, q := r.peer("127.0.0.2"), r.peer("127.0.9.9")
	wide, near, exact := trunk("wide"), trunk("near"), trunk("exact")
	wide.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::/0")}
	near.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24")}
	exact.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	for _, c := range []struct {
		list []masking.Trunk
		p    *peer
		want string
	}{
		{[]masking.Trunk{wide, near, exact}, p, "exact"}, {[]masking.Trunk{exact, near, wide}, p, "exact"},
		{[]masking.Trunk{wide, near}, p, "near"}, {[]masking.Trunk{wide, near, exact}, q, "wide"},
	} {
		r.ua.SetTrunks(c.list)
		_, call := r.caller(c.p, nil)
		if call.Trunk != c.want {
			t.Errorf("%s is %q, want %q", c.p.addr.Addr(), call.Trunk, c.want)
		}
		call.Leg.End(b2bua.Reason{})
	}
	if got, _ := r.ua.trunks.bySource(netip.MustParseAddr("::ffff:127.0.0.2")); got.Name != "exact" {
		t.Errorf("an IPv4 address written as IPv6 is %q", got.Name)
	}
}

// names are the ways out for the virtual number.
func names(ua *Agent) (list []string) {
	for _, w := range ua.Outgoing(e164.MustParse(virtual)) {
		list = append(list, w.Name())
	}
	return list
}

func TestWaysOutGoByPriorityThenWeightAndOnlyWhereTheCallerIDMayBeShown(t *testing.T) {
	r := newRig(t)
	at := func(port uint16) masking.Target { return masking.Target{Host: "127.0.0.5", Port: port} }
	heavy, light, last, other, mute := trunk("heavy"), trunk("light"), trunk("last"), trunk("other"), trunk("mute")
	heavy.Targets, heavy.Weight = []masking.Target{at(1), at(2)}, 9
	light.Targets, light.Weight = []masking.Target{at(3)}, 1
	last.Targets, last.Priority = []masking.Target{at(4)}, 2
	other.Targets, other.CallerIDs = []masking.Target{at(5)}, []string{"+1*"}
	r.ua.SetTrunks([]masking.Trunk{last, other, light, heavy, mute})
	first := map[string]int{}
	for range 2000 {
		got := names(r.ua)
		if len(got) != 4 || got[3] != "last" {
			t.Fatalf("ways %v", got)
		}
		first[got[0]]++
	}
	if n := first["heavy"]; n < 1700 || n > 1900 { // 1800 expected, 13 of deviation
		t.Errorf("heavy was first %d times of 2000", n)
	}
}

func TestATrunkTakesNoMoreCallsThanItsLimits(t *testing.T) {
	r := newRig(t)
	p := r.peer("127.0.0.2")
	few := trunk("few", p)
	few.MaxCalls = 2
	r.ua.SetTrunks([]masking.Trunk{few})
	first, ev := r.dial()
	r.dial()
	_, third := r.dial()
	if e := third.next(t, b2bua.EvFailed); !e.Retry {
		t.Errorf("%+v", e)
	}
	third.next(t, b2bua.EvGone)
	if h := r.ua.TrunkHealth("few"); h.LiveCalls != 2 || h.FailuresInRow != 0 {
		t.Errorf("health %+v", h)
	}
	invite := p.expect("INVITE ")
	p.send(invite.reply(486, "x", ""))
	ev.next(t, b2bua.EvFailed)
	ev.next(t, b2bua.EvGone)
	first.End(b2bua.Reason{})
	fourth, _ := r.dial()
	if phaseOf(fourth) == gone {
		t.Error("a call that ended did not make room")
	}
}

func TestATrunkStartsNoMoreCallsASecondThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, limit := &trunkState{name: "few", quota: quota.New(nil, nil)}, masking.Trunk{MaxCPS: 2}
		for i, want := range []bool{true, true, false} {
			if got := s.take(limit, 0); got != want || s.full(limit) != (i > 0) {
				t.Errorf("call %d: %v", i, got)
			}
			<-time.After(300 * time.Millisecond)
		}
		<-time.After(100 * time.Millisecond) // a second after the first
		synctest.Wait()
		for _, want := range []bool{true, false} {
			if got := s.take(limit, 0); got != want {
				t.Error("more than two have started within a second, or fewer may")
			}
		}
		s.give()
		s.give()
		s.give()
		<-time.After(aSecond)
		synctest.Wait()
		if s.quota.Len() != 0 || s.live != 0 {
			t.Error("places are left")
		}
	})
}

func TestATrunkThatFailsIsTriedLastButProbedNowAndThen(t *testing.T) {
	r := newRig(t)
	at := masking.Target{Host: "127.0.0.5", Port: 5060}
	bad, good := trunk("bad"), trunk("good")
	bad.Targets, good.Targets, good.Priority = []masking.Target{at}, []masking.Target{at}, 2
	r.ua.SetTrunks([]masking.Trunk{bad, good})
	s, now := r.ua.trunks.state("bad").at(r.ua.trunks.all()[0].places[0]), time.Now()
	fail := func(at time.Time) { s.note(false, toCall, 0, at) }
	fail(now)
	fail(now)
	if got := names(r.ua); got[0] != "bad" {
		t.Errorf("after two failures: %v", got)
	}
	fail(now)
	if got := names(r.ua); got[0] != "good" || r.ua.TrunkHealth("bad").State != "down" {
		t.Errorf("after three failures: %v", got)
	}
	fail(now.Add(-time.Minute)) // the last one is long ago
	if got := names(r.ua); got[0] != "bad" {
		t.Errorf("nobody probes it: %v", got)
	}
	if got := names(r.ua); got[0] != "good" {
		t.Errorf("all probe it: %v", got)
	}
	s.note(true, toCall, 0, now)
	if got := names(r.ua); got[0] != "bad" || r.ua.TrunkHealth("bad").State != "up" {
		t.Errorf("after a success: %v", got)
	}
}

func TestTheWaysOutAreToldAsTheyWouldBeTriedAndNoneIsUsed(t *testing.T) {
	r := newRig(t)
	at := func(port uint16) masking.Target { return masking.Target{Host: "127.0.0.5", Port: port} }
	main, spare, sick, shut, other := trunk("main"), trunk("spare"), trunk("sick"), trunk("shut"), trunk("other")
	main.Targets, main.MaxCalls = []masking.Target{at(1), at(2)}, 1
	spare.Targets, spare.Priority = []masking.Target{at(3)}, 2
	sick.Targets, sick.OptionsEvery = []masking.Target{at(4), at(5)}, 0
	shut.Targets = []masking.Target{at(6)}
	other.Targets, other.CallerIDs = []masking.Target{at(7)}, []string{"+1*"}
	r.ua.SetTrunks([]masking.Trunk{sick, shut, other, spare, main})
	now := time.Now()
	for _, l := range r.ua.trunks.all() {
		for _, p := range l.places {
			spot := r.ua.trunks.state(l.Name).at(p)
			switch l.Name {
			case "sick":
				for range downAfter {
					spot.note(false, 0, 0, now)
				}
			case "shut":
				spot.note(true, toCall, time.Minute, now)
			}
		}
	}
	r.ua.trunks.state("main").add(r.ua.trunks.named("main").Trunk)
	told := r.ua.WaysOut(e164.MustParse(virtual))
	want := []masking.WayOut{
		{Trunk: "main", Priority: 1, Weight: 1, State: masking.WayFull, Tried: true}, {Trunk: "main", Priority: 1, Weight: 1, State: masking.WayFull, Tried: true},
		{Trunk: "spare", Priority: 2, Weight: 1, State: masking.WayOpen, Tried: true}, {Trunk: "sick", Priority: 1, Weight: 1, State: masking.WayDown, Tried: true},
		{Trunk: "sick", Priority: 1, Weight: 1, State: masking.WayDown}, {Trunk: "shut", Priority: 1, Weight: 1, State: masking.WayClosed}}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v\nwant %+v", told, want)
	}
	// A probe is due half a minute after the failures. Telling of it sends none.
	later := now.Add(probeEvery)
	for range 2 {
		told := r.ua.trunks.waysOut(e164.MustParse(virtual), later)
		if i := slices.IndexFunc(told, func(w masking.WayOut) bool { return w.Trunk == "sick" }); told[i].State != masking.WayOpen {
			t.Errorf("half a minute later: %+v", told)
		}
	}
	var tried []string
	for _, w := range told {
		if w.Tried {
			tried = append(tried, w.Trunk)
		}
	}
	if got := names(r.ua); !slices.Equal(got, tried) {
		t.Errorf("a call tries %v, told %v", got, tried)
	}
}
