package masking

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

func TestADraftIsRefusedForWhatNoAllocationMayBe(t *testing.T) {
	good := Draft{From: people(1), To: people(2), Duration: time.Hour}
	change := func(f func(*Draft)) Draft { d := good; f(&d); return d }
	eleven := people(20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
	for name, c := range map[string]struct {
		draft Draft
		code  Code
		field string
	}{
		"as it should be":        {good, "", ""},
		"shortest":               {change(func(d *Draft) { d.Duration = time.Second }), "", ""},
		"longest":                {change(func(d *Draft) { d.Duration = MaxDuration }), "", ""},
		"no duration":            {change(func(d *Draft) { d.Duration = 0 }), CodeInvalidField, "duration"},
		"negative duration":      {change(func(d *Draft) { d.Duration = -time.Second }), CodeInvalidField, "duration"},
		"too short":              {change(func(d *Draft) { d.Duration = time.Second - 1 }), CodeInvalidField, "duration"},
		"too long":               {change(func(d *Draft) { d.Duration = MaxDuration + time.Second }), CodeInvalidField, "duration"},
		"no from":                {change(func(d *Draft) { d.From = nil }), CodeInvalidField, "from"},
		"no to":                  {change(func(d *Draft) { d.To = []e164.Number{} }), CodeInvalidField, "to"},
		"ten on a side":          {change(func(d *Draft) { d.To = eleven[:10] }), "", ""},
		"eleven on a side":       {change(func(d *Draft) { d.To = eleven }), CodeInvalidField, "to"},
		"eleven, one twice":      {change(func(d *Draft) { d.From = append(people(21), eleven[:10]...) }), "", ""},
		"one on both sides":      {change(func(d *Draft) { d.To = people(2, 1) }), CodeSamePartyOnBothSides, "to"},
		"256 characters":         {change(func(d *Draft) { d.CustomField = strings.Repeat("न", 256) }), "", ""},
		"257 characters":         {change(func(d *Draft) { d.CustomField = strings.Repeat("a", 257) }), CodeInvalidField, "custom_field"},
		"custom field no UTF-8":  {change(func(d *Draft) { d.CustomField = "\xff" }), CodeInvalidField, "custom_field"},
		"faults: duration first": {Draft{}, CodeInvalidField, "duration"},
	} {
		a, err := c.draft.New("gvn_1", acme(), noon)
		if code(err) != c.code || field(err) != c.field {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (KindOf(err) != Invalid || a.ID != "") {
			t.Errorf("%s: kind %s, gave %+v", name, KindOf(err), a)
		}
	}
}

func TestATenantsOwnMaximumIsNamedInTheRefusal(t *testing.T) {
	tenant := acme()
	tenant.Settings.MaxDuration = 90 * time.Minute
	_, err := Draft{From: people(1), To: people(2), Duration: 90*time.Minute + time.Second}.New("gvn_1", tenant, noon)
	if code(err) != CodeDurationTooLong || !strings.Contains(err.Error(), "5400 seconds") {
		t.Errorf("gave %v", err)
	}
	if _, err := (Draft{From: people(1), To: people(2), Duration: 90 * time.Minute}).New("gvn_1", tenant, noon); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

func TestANewAllocationIsWhatTheDraftAsks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{From: few(0, 12).Draw(t, "from"), To: few(0, 12).Draw(t, "to"), Record: rapid.Bool().Draw(t, "record"),
			Duration:    time.Duration(rapid.Int64Range(1, 14688000).Draw(t, "seconds")) * time.Second,
			Usage:       rapid.SampledFrom([]Usage{"", OneWay, TwoWay}).Draw(t, "usage"),
			CustomField: rapid.StringN(0, 300, -1).Draw(t, "custom")}
		from, to := slices.Clone(d.From), slices.Clone(d.To)
		a, err := d.New("gvn_1", acme(), noon)
		if !slices.Equal(d.From, from) || !slices.Equal(d.To, to) {
			t.Fatal("the draft was changed")
		}
		if err != nil {
			return
		}
		usage := d.Usage
		if usage == "" {
			usage = TwoWay
		}
		if a.ID != "gvn_1" || a.Tenant != "acme" || a.Record != d.Record || a.Usage != usage || a.CustomField != d.CustomField ||
			!a.CreatedAt.Equal(noon) || !a.UpdatedAt.Equal(noon) || a.ExpiresAt.Sub(a.CreatedAt) != d.Duration || a.Status(noon) != Active {
			t.Fatalf("made %+v of %+v", a, d)
		}
		checkSides(t, a, d.From, d.To)
	})
}

// checkSides checks that a's lists are the given ones without repeats, in order.
func checkSides(t *rapid.T, a Allocation, from, to []e164.Number) {
	for _, c := range []struct{ have, asked []e164.Number }{{a.From, from}, {a.To, to}} {
		next := 0
		for i, n := range c.asked {
			if slices.Index(c.asked, n) != i {
				continue // said before
			}
			if next >= len(c.have) || c.have[next] != n {
				t.Fatalf("%v became %v", Texts(c.asked), Texts(c.have))
			}
			next++
		}
		if next != len(c.have) || next == 0 || next > MaxParties {
			t.Fatalf("%v became %v", Texts(c.asked), Texts(c.have))
		}
	}
	for _, n := range a.From {
		if slices.Contains(a.To, n) {
			t.Fatalf("%v stands on both sides", n)
		}
	}
}

func TestExpiryIsDecidedByTheClock(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(2)})
	for _, c := range []struct {
		now  time.Time
		want Status
	}{{noon, Active}, {a.ExpiresAt.Add(-1), Active}, {a.ExpiresAt, Deleted}, {a.ExpiresAt.Add(time.Second), Deleted}} {
		if got := a.Status(c.now); got != c.want {
			t.Errorf("at %v: %v", c.now, got)
		}
	}
	if at, why, over := a.Ended(a.ExpiresAt.Add(time.Hour)); !at.Equal(a.ExpiresAt) || why != EndedByExpired || !over {
		t.Errorf("ended at %v by %v", at, why)
	}
	if _, _, over := a.Ended(noon); over {
		t.Error("ended while active")
	}
}

func TestTheFirstEndIsTheOneThatStays(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(2)})
	ended, changed := a.End(EndedByAPI, noon.Add(time.Minute))
	if !changed || ended.Status(noon) != Deleted || ended.EndReason != EndedByAPI || !ended.EndedAt.Equal(noon.Add(time.Minute)) {
		t.Errorf("ended %+v", ended)
	}
	again, changed := ended.End(EndedByAdmin, noon.Add(time.Hour))
	if changed || !again.EndedAt.Equal(ended.EndedAt) || again.EndReason != EndedByAPI || !again.UpdatedAt.Equal(ended.UpdatedAt) {
		t.Errorf("ended again %+v", again)
	}
	late, changed := a.End(EndedByAPI, a.ExpiresAt.Add(time.Minute))
	if changed || !late.EndedAt.Equal(a.ExpiresAt) || late.EndReason != EndedByExpired {
		t.Errorf("ended after expiry %+v", late)
	}
	if !a.EndedAt.IsZero() {
		t.Error("the allocation itself was changed")
	}
}

func TestPartiesAreReplacedSideBySide(t *testing.T) {
	a := active(t, Draft{From: people(1, 2), To: people(3)})
	later := noon.Add(time.Minute)
	for name, c := range map[string]struct {
		from, to         []e164.Number
		wantFrom, wantTo []e164.Number
		code             Code
	}{
		"from":            {people(4, 4), nil, people(4), people(3), ""},
		"to":              {nil, people(5, 6), people(1, 2), people(5, 6), ""},
		"both":            {people(3), people(1), people(3), people(1), ""},
		"the same":        {people(1, 2), people(3), people(1, 2), people(3), ""},
		"neither":         {nil, nil, nil, nil, CodeMissingField},
		"empty":           {[]e164.Number{}, nil, nil, nil, CodeInvalidField},
		"meets the other": {people(3), nil, nil, nil, CodeSamePartyOnBothSides},
	} {
		got, err := a.WithParties(c.from, c.to, later)
		if code(err) != c.code {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			if !reflect.DeepEqual(got, a) {
				t.Errorf("%s: a refused update changed %+v", name, got)
			}
			continue
		}
		if !slices.Equal(got.From, c.wantFrom) || !slices.Equal(got.To, c.wantTo) || !got.UpdatedAt.Equal(later) ||
			!got.ExpiresAt.Equal(a.ExpiresAt) || !got.CreatedAt.Equal(a.CreatedAt) || got.ID != a.ID {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAnEndedAllocationTakesNoUpdate(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(2)})
	deleted, _ := a.End(EndedByAPI, noon)
	yes := true
	for name, c := range map[string]struct {
		a   Allocation
		now time.Time
	}{"deleted": {deleted, noon}, "expired": {a, a.ExpiresAt}} {
		_, parties := c.a.WithParties(people(3), nil, c.now)
		_, number := c.a.WithVirtualNumber(vn(2), c.now)
		_, patch := c.a.WithPatch(Patch{Record: &yes}, acme().Settings, c.now)
		for _, err := range []error{parties, number, patch} {
			if code(err) != CodeAllocationNotActive || KindOf(err) != Conflict {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestAPatchChangesWhatItNamesAndNothingElse(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(2), CustomField: "old"})
	later := noon.Add(10 * time.Minute)
	yes, text, long, life, none := true, "", strings.Repeat("x", 257), 30*time.Minute, time.Duration(0)
	for name, c := range map[string]struct {
		patch Patch
		want  func(*Allocation)
		field string
	}{
		"nothing":      {Patch{}, func(*Allocation) {}, ""},
		"record":       {Patch{Record: &yes}, func(a *Allocation) { a.Record = true }, ""},
		"custom field": {Patch{CustomField: &text}, func(a *Allocation) { a.CustomField = "" }, ""},
		"duration":     {Patch{Duration: &life}, func(a *Allocation) { a.ExpiresAt = later.Add(life) }, ""},
		"too long":     {Patch{CustomField: &long, Record: &yes}, nil, "custom_field"},
		"no life":      {Patch{Duration: &none, Record: &yes}, nil, "duration"},
	} {
		got, err := a.WithPatch(c.patch, acme().Settings, later)
		want := a
		if c.want != nil {
			c.want(&want)
			want.UpdatedAt = later
		}
		if field(err) != c.field || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func TestAMoveToAnotherNumberKeepsAllElse(t *testing.T) {
	a := active(t, Draft{From: people(1), To: people(2)})
	got, err := a.WithVirtualNumber(vn(2), noon.Add(time.Second))
	want := a
	want.VirtualNumber, want.UpdatedAt = vn(2), noon.Add(time.Second)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestClaimsAreCompleteAndSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{From: few(1, 10).Draw(t, "from"), To: few(1, 10).Draw(t, "to"), Duration: time.Hour,
			Usage: rapid.SampledFrom([]Usage{OneWay, TwoWay}).Draw(t, "usage")}
		a, err := d.New("gvn_1", acme(), noon)
		if err != nil {
			return
		}
		a.VirtualNumber = vn(1)
		sharing := rapid.SampledFrom([]Sharing{Exclusive, Shared}).Draw(t, "sharing")
		claims := a.Claims(sharing)
		var keys []string
		for _, c := range claims {
			keys = append(keys, c.Caller)
			if c.VirtualNumber != vn(1) || c.Allocation != "gvn_1" || !c.ExpiresAt.Equal(a.ExpiresAt) {
				t.Fatalf("claim %+v", c)
			}
		}
		if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
			t.Fatalf("keys %v", keys)
		}
		want := Texts(a.From)
		if a.Usage == TwoWay {
			want = append(want, Texts(a.To)...)
		}
		if sharing == Exclusive {
			want = append(want, AnyCaller)
		}
		slices.Sort(want)
		if !slices.Equal(keys, want) {
			t.Fatalf("claims %v, want %v", keys, want)
		}
	})
}

func TestARefusedClaimNamesTheRuleOfTheNumber(t *testing.T) {
	for sharing, want := range map[Sharing]Code{Exclusive: CodeVirtualNumberInUse, Shared: CodePartyInUse} {
		if err := ErrClaimed(sharing); err.Code != want || err.Kind != Conflict || err.Field != "caller_id_number" {
			t.Errorf("%s: %+v", sharing, err)
		}
	}
}
