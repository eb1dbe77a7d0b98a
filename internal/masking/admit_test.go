package masking

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

func routeTo(found ...Allocation) Route {
	return Route{Tenant: acme(), Number: VirtualNumber{Number: vn(1), Tenant: "acme"}, Found: found}
}

func TestAdmitLetsThePartiesThroughAndNobodyElse(t *testing.T) {
	two := active(t, Draft{From: people(1, 2), To: people(3, 4)})
	one := active(t, Draft{From: people(1, 2), To: people(3, 4), Usage: OneWay})
	deleted, _ := two.End(EndedByAPI, noon)
	elsewhere, foreign := two, two
	elsewhere.VirtualNumber, foreign.Tenant = vn(2), "zeta"
	stray := routeTo(two)
	stray.Number.Tenant = "zeta"
	for name, c := range map[string]struct {
		route  Route
		caller e164.Number
		now    time.Time
		want   []e164.Number
		way    Direction
		err    error
	}{
		"from calls":                 {routeTo(two), person(1), noon, people(3, 4), FromCalls, nil},
		"to calls":                   {routeTo(two), person(4), noon, people(1, 2), ToCalls, nil},
		"oneway, from calls":         {routeTo(one), person(2), noon, people(3, 4), FromCalls, nil},
		"oneway, to calls":           {routeTo(one), person(3), noon, nil, "", RefusedWrongDirection},
		"just in time":               {routeTo(two), person(1), two.ExpiresAt.Add(-1), people(3, 4), FromCalls, nil},
		"expired":                    {routeTo(two), person(1), two.ExpiresAt, nil, "", RefusedExpired},
		"deleted":                    {routeTo(deleted), person(1), noon, nil, "", RefusedExpired},
		"no claim":                   {routeTo(), person(1), noon, nil, "", RefusedStranger},
		"two claims":                 {routeTo(two, one), person(1), noon, nil, "", RefusedStranger},
		"not a party":                {routeTo(two), person(5), noon, nil, "", RefusedStranger},
		"withheld":                   {routeTo(two), e164.Number{}, noon, nil, "", RefusedWithheld},
		"of another number":          {routeTo(elsewhere), person(1), noon, nil, "", RefusedStranger},
		"of another tenant":          {routeTo(foreign), person(1), noon, nil, "", RefusedStranger},
		"number of another's tenant": {stray, person(1), noon, nil, "", RefusedStranger},
		"the virtual number calls":   {routeTo(two), vn(1), noon, nil, "", RefusedLoop},
	} {
		p, err := Admit(c.route, c.caller, c.now)
		if !errors.Is(err, c.err) || !slices.Equal(p.Targets, c.want) || p.Direction != c.way {
			t.Errorf("%s: %v, %v %s", name, err, Texts(p.Targets), p.Direction)
		}
		if err == nil && (p.VirtualNumber != vn(1) || p.Caller != c.caller || p.RingEach != 20*time.Second ||
			p.RingTotal != time.Minute || p.Tenant.ID != "acme" || p.Allocation.ID != "gvn_1") {
			t.Errorf("%s: %+v", name, p)
		}
		if err != nil && p.Allocation.ID != "" {
			t.Errorf("%s: a refusal with a plan", name)
		}
	}
}

// anyAllocation may be wrong in every way that a store could be wrong.
var anyAllocation = rapid.Custom(func(t *rapid.T) Allocation {
	a := Allocation{ID: AllocationID(rapid.SampledFrom([]string{"gvn_1", "gvn_2"}).Draw(t, "id")),
		Tenant:        TenantID(rapid.SampledFrom([]string{"acme", "acme", "acme", "zeta"}).Draw(t, "tenant")),
		VirtualNumber: rapid.SampledFrom([]e164.Number{vn(1), vn(1), vn(1), vn(2)}).Draw(t, "number"),
		From:          few(0, 4).Draw(t, "from"), To: few(0, 4).Draw(t, "to"),
		Usage:     rapid.SampledFrom([]Usage{TwoWay, OneWay}).Draw(t, "usage"),
		ExpiresAt: noon.Add(time.Duration(rapid.IntRange(-3, 9).Draw(t, "life")) * time.Minute)}
	if rapid.IntRange(0, 4).Draw(t, "ended") == 0 {
		a.EndedAt = noon
	}
	return a
})

func TestAdmitNeverRoutesAWrongCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := routeTo(rapid.SliceOfN(anyAllocation, 0, 2).Draw(t, "found")...)
		caller := rapid.OneOf(rapid.Map(rapid.IntRange(0, 14), person), rapid.Just(e164.Number{})).Draw(t, "caller")
		p, err := Admit(r, caller, noon)
		var why Refusal
		if err != nil {
			if !errors.As(err, &why) {
				t.Fatalf("%v is no Refusal", err)
			}
			return
		}
		a := r.Found[0]
		switch {
		case len(r.Found) != 1:
			t.Fatal("chose between two")
		case !a.EndedAt.IsZero() || !noon.Before(a.ExpiresAt):
			t.Fatal("routed an ended allocation")
		case a.Tenant != "acme" || a.VirtualNumber != vn(1):
			t.Fatal("routed a foreign allocation")
		case caller.IsZero() || !slices.Contains(a.Callers(), caller):
			t.Fatal("routed somebody who may not call")
		case slices.Contains(p.Targets, caller):
			t.Fatal("rings the caller himself")
		}
		side := a.To
		if p.Direction == ToCalls {
			side = a.From
		}
		for _, n := range p.Targets {
			if !slices.Contains(side, n) {
				t.Fatal("rings somebody of the caller's own side")
			}
		}
	})
}

func TestWhatClaimsIsWhatIsAdmitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{From: few(1, 10).Draw(t, "from"), To: few(1, 10).Draw(t, "to"), Duration: time.Hour,
			Usage: rapid.SampledFrom([]Usage{OneWay, TwoWay}).Draw(t, "usage")}
		a, err := d.New("gvn_1", acme(), noon)
		if err != nil {
			return
		}
		a.VirtualNumber = vn(1)
		for i := range 15 {
			claims := slices.ContainsFunc(a.Claims(Shared), func(c Claim) bool { return c.Caller == person(i).E164() })
			p, err := Admit(routeTo(a), person(i), noon)
			if claims != (err == nil) || err == nil && len(p.Targets) == 0 {
				t.Fatalf("%s claims: %v, admitted: %v", person(i).E164(), claims, err)
			}
		}
	})
}

func TestAPlanIsASnapshot(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(3, 4)})
	p, err := Admit(routeTo(a), person(1), noon)
	if err != nil {
		t.Fatal(err)
	}
	a.To[0] = person(9)
	if !slices.Equal(p.Targets, people(3, 4)) {
		t.Errorf("rings %v", Texts(p.Targets))
	}
}
