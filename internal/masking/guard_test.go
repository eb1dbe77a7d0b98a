package masking

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

func TestPrefixesAreBeginningsOfNumbers(t *testing.T) {
	got, err := ParsePrefixes("allowed_prefixes", []string{"+91", "+1", "+4420", "+91"})
	if err != nil || !slices.Equal(got, Prefixes{"+1", "+4420", "+91"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParsePrefixes("allowed_prefixes", nil); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	many := slices.Repeat([]string{"+91"}, MaxPrefixes+1)
	for _, bad := range [][]string{{"91"}, {"+0"}, {"+"}, {""}, {"+91 "}, {"+9a"}, {"+1234567890123456"}, {"+91", "x"}, many} {
		if _, err := ParsePrefixes("allowed_prefixes", bad); code(err) != CodeInvalidField || field(err) != "allowed_prefixes" {
			t.Errorf("%d like %q: %v", len(bad), bad[0], err)
		}
	}
}

func TestANumberIsRungOnlyIfOperatorAndTenantBothLetIt(t *testing.T) {
	g := Guards{Permitted: Prefixes{"+1", "+91"}, Allowed: Prefixes{"+44", "+9198"}}
	for n, want := range map[string]bool{"+919800000001": true, "+919900000001": false, "+442071234567": false, "+12125550100": false} {
		if g.Permits(e164.MustParse(n)) != want {
			t.Errorf("%s: %v", n, !want)
		}
	}
	if !(Guards{}).Permits(person(1)) {
		t.Error("the zero value bounds something")
	}
}

func TestPartiesWhoMayNotBeRungAreRefusedWhenTheyAreWritten(t *testing.T) {
	home := acme()
	home.Settings.Guards.Allowed = Prefixes{"+9198"}
	abroad := []e164.Number{e164.MustParse("+12125550100")}
	for name, c := range map[string]struct {
		draft Draft
		field string // "" = accepted
	}{
		"both may":                   {Draft{From: people(1), To: people(2)}, ""},
		"to may not":                 {Draft{From: people(1), To: abroad}, "to"},
		"one of two may not":         {Draft{From: people(1), To: append(people(2), abroad...)}, "to"},
		"from may not":               {Draft{From: abroad, To: people(2)}, "from"},
		"oneway, from is never rung": {Draft{From: abroad, To: people(2), Usage: OneWay}, ""},
		"oneway, to may not":         {Draft{From: people(1), To: abroad, Usage: OneWay}, "to"},
		"GreenPin, from may not":     {Draft{Product: GreenPin, From: abroad}, "from"},
	} {
		c.draft.Duration = time.Hour
		_, err := c.draft.New("gvn_1", home, noon)
		if field(err) != c.field || (err != nil && code(err) != CodeNumberNotAllowed) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), abroad[0].E164()) {
			t.Errorf("%s: the refusal tells the number", name)
		}
	}
	had := active(t, Draft{From: people(1), To: abroad})
	next, err := had.WithParties(people(3), nil, noon)
	if err == nil {
		err = home.Settings.Guards.CheckParties(had, next)
	}
	if err != nil {
		t.Errorf("who stood in it already is judged again: %v", err)
	}
}

// Whatever the prefixes and the day had: who is rung may be rung, nobody is left
// out who may, and a call that is let through has its place in the day.
func TestGuardsLetThroughWhatTheyShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefixes := rapid.SliceOfN(rapid.SampledFrom([]string{"+9198000000", "+919800000000", "+919800000001", "+91", "+1"}), 0, 3)
		route := routeTo()
		g := &route.Tenant.Settings.Guards
		g.Permitted, g.Allowed = prefixes.Draw(t, "permitted"), prefixes.Draw(t, "allowed")
		g.DayCalls, g.DayTalk = rapid.IntRange(0, 3).Draw(t, "calls"), time.Duration(rapid.IntRange(0, 3).Draw(t, "talk"))*time.Minute
		a := Allocation{ID: "gvn_1", Tenant: "acme", VirtualNumber: vn(1), Usage: TwoWay, ExpiresAt: noon.Add(time.Hour)}
		a.From, a.To = people(1, 2), people(3, 14)
		a.Today = Use{Day: Day(rapid.SampledFrom([]int{20240614, 20240615}).Draw(t, "day")), Calls: int64(rapid.IntRange(0, 3).Draw(t, "had")),
			Talk: time.Duration(rapid.IntRange(0, 3).Draw(t, "talked")) * time.Minute}
		route.Found = []Allocation{a}
		caller := rapid.SampledFrom(a.Parties()).Draw(t, "caller")
		side := a.To
		if slices.Contains(a.To, caller) {
			side = a.From
		}
		may := 0
		for _, n := range side {
			if g.Permits(n) {
				may++
			}
		}
		full := a.Today.Day == 20240615 && g.DayCalls > 0 && a.Today.Calls >= int64(g.DayCalls)
		talked := a.Today.Day == 20240615 && g.DayTalk > 0 && a.Today.Talk >= g.DayTalk
		plan, err := Admit(route, caller, noon)
		switch {
		case may == 0:
			if !errors.Is(err, RefusedDestination) || len(plan.Targets) > 0 || plan.Allocation.ID != "gvn_1" {
				t.Fatalf("nobody may be rung: %v", err)
			}
		case full:
			if !errors.Is(err, RefusedDayCalls) || len(plan.Targets) > 0 {
				t.Fatalf("no call is left: %v", err)
			}
		case talked:
			if !errors.Is(err, RefusedDayTalk) || len(plan.Targets) > 0 {
				t.Fatalf("no talk is left: %v", err)
			}
		case err != nil || len(plan.Targets) != may || slices.ContainsFunc(plan.Targets, func(n e164.Number) bool { return !g.Permits(n) }):
			t.Fatalf("%v, %d of %d", err, len(plan.Targets), may)
		}
	})
}

func TestADayIsThatOfTheTenantsZone(t *testing.T) {
	kolkata, err := time.LoadLocation(DefaultZoneName)
	if err != nil {
		t.Fatal(err)
	}
	late := time.Date(2024, 12, 31, 18, 29, 59, 0, time.UTC)
	if DayOf(late, kolkata) != 20241231 || DayOf(late.Add(time.Second), kolkata) != 20250101 || DayOf(late, time.UTC) != 20241231 {
		t.Error(DayOf(late, kolkata), DayOf(late.Add(time.Second), kolkata))
	}
	if began := DayBegan(late.Add(time.Second), kolkata); !began.Equal(late.Add(time.Second)) {
		t.Error(began)
	}
}

func TestWhatTheDayHasLeftBoundsTheTalk(t *testing.T) {
	g := Guards{DayTalk: 10 * time.Minute}
	today := Use{Day: 20240615, Talk: 6 * time.Minute}
	for talking, want := range map[time.Duration]time.Duration{0: 4 * time.Minute, 3 * time.Minute: time.Minute, 4 * time.Minute: 0, time.Hour: 0} {
		left, why := g.Judge(today, talking)
		if left != want || (why == RefusedDayTalk) != (want == 0) {
			t.Errorf("%v under way: %v, %q", talking, left, why)
		}
	}
	if left, why := (Guards{}).Judge(today, time.Hour); left != 0 || why != "" {
		t.Error("the zero value bounds something")
	}
}

func TestACallBelongsToThePacesThatItsTenantMinds(t *testing.T) {
	p := Plan{Tenant: acme(), Caller: person(1), Allocation: Allocation{ID: "gvn_1"}}
	scopes := func(v Velocity, p Plan) (all []Scope) {
		for _, pace := range v.Paces(p) {
			all = append(all, pace.Scope)
		}
		return all
	}
	all := Velocity{Caller: 1, Allocation: 2, Tenant: 3}
	if got := scopes(all, p); !slices.Equal(got, Scopes) {
		t.Error(got)
	}
	if got := scopes(Velocity{Allocation: 2}, p); !slices.Equal(got, []Scope{OfAllocation}) {
		t.Error(got)
	}
	if got := scopes(all, Plan{Tenant: acme()}); !slices.Equal(got, []Scope{OfTenant}) {
		t.Error(got)
	}
	if (Guards{}).Counts(p) || !(Guards{DayCalls: 1}).Counts(p) || !(Guards{Velocity: all}).Counts(p) || (Guards{DayTalk: 1}).Counts(Plan{}) {
		t.Error("what is counted is not what is minded")
	}
}

func TestGuardsThatNoTenantMayHaveAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Guards){
		"max_allocation_calls_per_day":    func(g *Guards) { g.DayCalls = -1 },
		"max_allocation_minutes_per_day":  func(g *Guards) { g.DayTalk = MaxDayTalk + 1 },
		"velocity_alarm.minutes":          func(g *Guards) { g.Velocity.Window = time.Second },
		"velocity_alarm.caller_calls":     func(g *Guards) { g.Velocity.Caller = -1 },
		"velocity_alarm.allocation_calls": func(g *Guards) { g.Velocity.Allocation = MostCalls + 1 },
		"velocity_alarm.tenant_calls":     func(g *Guards) { g.Velocity.Tenant = -1 },
	} {
		s := acme().Settings
		change(&s.Guards)
		if err := s.Check(); field(err) != want || code(err) != CodeInvalidField {
			t.Errorf("%s: %v", want, err)
		}
	}
}
