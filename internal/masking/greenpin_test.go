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

func TestAnAllocationsIdentifierTellsItsProduct(t *testing.T) {
	for id, want := range map[AllocationID]Product{"gvn_1": GreenVN, "gp_1": GreenPin, "": GreenVN, "gvn_gp_": GreenVN, "gp_gvn_": GreenPin} {
		if got := (Allocation{ID: id}).Product(); got != want {
			t.Errorf("%q: %s", id, got)
		}
	}
}

func TestAGreenPinDraftIsRefusedForWhatNoneMayBe(t *testing.T) {
	good := Draft{Product: GreenPin, From: people(1), To: people(2), Duration: time.Hour}
	change := func(f func(*Draft)) Draft { d := good; f(&d); return d }
	for name, c := range map[string]struct {
		draft    Draft
		field    string
		attempts int
	}{
		"as it should be":     {good, "", 3},
		"nobody to ring yet":  {change(func(d *Draft) { d.To = nil }), "", 3},
		"an empty to":         {change(func(d *Draft) { d.To = []e164.Number{} }), "", 3},
		"no from":             {change(func(d *Draft) { d.From = nil }), "from", 0},
		"eleven to ring":      {change(func(d *Draft) { d.To = people(20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30) }), "to", 0},
		"shortest":            {change(func(d *Draft) { d.Duration = 300 * time.Second }), "", 3},
		"too short":           {change(func(d *Draft) { d.Duration = 299 * time.Second }), "duration", 0},
		"longest":             {change(func(d *Draft) { d.Duration = MaxDuration }), "", 3},
		"too long":            {change(func(d *Draft) { d.Duration = MaxDuration + time.Second }), "duration", 0},
		"one wrong entry":     {change(func(d *Draft) { d.MaxPINAttempts = 1 }), "", 1},
		"ten":                 {change(func(d *Draft) { d.MaxPINAttempts = 10 }), "", 10},
		"eleven":              {change(func(d *Draft) { d.MaxPINAttempts = 11 }), "max_pin_attempts", 0},
		"fewer than none":     {change(func(d *Draft) { d.MaxPINAttempts = -1 }), "max_pin_attempts", 0},
		"on both sides":       {change(func(d *Draft) { d.To = people(3, 1) }), "to", 0},
		"attempts of GreenVN": {change(func(d *Draft) { d.Product, d.MaxPINAttempts = GreenVN, 7 }), "", 0},
		"GreenVN without to":  {change(func(d *Draft) { d.Product, d.To = GreenVN, nil }), "to", 0},
		"GreenVN, a second":   {change(func(d *Draft) { d.Product, d.Duration = GreenVN, time.Second }), "", 0},
	} {
		a, err := c.draft.New("gp_1", acme(), noon)
		if field(err) != c.field || a.MaxPINAttempts != c.attempts {
			t.Errorf("%s: %v, %d attempts", name, err, a.MaxPINAttempts)
		}
		if err == nil && (a.To == nil || a.PIN != "" || !a.ExpiresAt.Equal(noon.Add(c.draft.Duration)) || a.Usage != TwoWay) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if err := acme().Settings.CheckDuration(GreenPin, time.Second); err == nil || !strings.Contains(err.Error(), "300 to 14688000") {
		t.Errorf("the limits are not told: %v", err)
	}
}

func TestAGreenPinAllocationExpiresAndIsDeleted(t *testing.T) {
	a := greenpin(t, Draft{From: people(1)})
	after := a.ExpiresAt.Add(time.Minute)
	swept, _ := a.End(EndedByExpired, after)
	deleted, _ := a.End(EndedByAPI, noon)
	byAdmin, _ := a.End(EndedByAdmin, noon)
	for name, c := range map[string]struct {
		a    Allocation
		now  time.Time
		want Status
	}{
		"new": {a, noon, Active}, "just in time": {a, a.ExpiresAt.Add(-1), Active}, "over": {a, a.ExpiresAt, Expired},
		"swept": {swept, after, Expired}, "deleted": {deleted, noon, Deleted}, "deleted, much later": {deleted, after, Deleted},
		"by the operator": {byAdmin, after, Deleted},
	} {
		if got := c.a.Status(c.now); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if !swept.EndedAt.Equal(a.ExpiresAt) {
		t.Errorf("swept: ended at %v", swept.EndedAt)
	}
}

func TestAGreenPinAllocationIsRemovedOnce(t *testing.T) {
	a := greenpin(t, Draft{From: people(1)})
	over := a.ExpiresAt.Add(time.Hour)
	swept, _ := a.End(EndedByExpired, over)
	deleted, _ := a.End(EndedByAPI, noon)
	for name, c := range map[string]struct {
		a    Allocation
		now  time.Time
		told bool
		code Code
	}{
		"active":             {a, noon.Add(time.Minute), false, ""},
		"expired, not swept": {a, over, false, ""},
		"expired and swept":  {swept, over, true, ""},
		"deleted":            {deleted, over, true, CodeAllocationNotActive},
	} {
		got, told, err := c.a.Remove(c.now)
		if code(err) != c.code || told != c.told {
			t.Errorf("%s: %v, told %v", name, err, told)
		}
		if err != nil {
			if KindOf(err) != Conflict || !reflect.DeepEqual(got, c.a) {
				t.Errorf("%s: refused by %v, and became %+v", name, err, got)
			}
			continue
		}
		if got.Status(c.now) != Deleted || !got.EndedAt.Equal(c.now) || got.EndReason != EndedByAPI || !got.UpdatedAt.Equal(c.now) {
			t.Errorf("%s: %+v", name, got)
		}
		if _, told, err := got.Remove(c.now.Add(time.Second)); code(err) != CodeAllocationNotActive || !told {
			t.Errorf("%s: removed twice: %v", name, err)
		}
	}
}

func TestAGreenPinAllocationIsPatchedWhileItIsActive(t *testing.T) {
	a := greenpin(t, Draft{From: people(1), To: people(2), MaxPINAttempts: 5})
	later := noon.Add(10 * time.Minute)
	one, ten, none, eleven, short, least := 1, 10, 0, 11, 299*time.Second, 300*time.Second
	for name, c := range map[string]struct {
		patch Patch
		want  func(*Allocation)
		field string
	}{
		"one entry":    {Patch{MaxPINAttempts: &one}, func(a *Allocation) { a.MaxPINAttempts = 1 }, ""},
		"ten":          {Patch{MaxPINAttempts: &ten}, func(a *Allocation) { a.MaxPINAttempts = 10 }, ""},
		"none":         {Patch{MaxPINAttempts: &none}, nil, "max_pin_attempts"},
		"eleven":       {Patch{MaxPINAttempts: &eleven, Duration: &least}, nil, "max_pin_attempts"},
		"shortest":     {Patch{Duration: &least}, func(a *Allocation) { a.ExpiresAt = later.Add(least) }, ""},
		"too short":    {Patch{Duration: &short, MaxPINAttempts: &one}, nil, "duration"},
		"leaves it so": {Patch{}, func(*Allocation) {}, ""},
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
	deleted, _ := a.End(EndedByAPI, noon)
	for name, c := range map[string]struct {
		a   Allocation
		now time.Time
	}{"deleted": {deleted, noon}, "expired": {a, a.ExpiresAt}} {
		_, patch := c.a.WithPatch(Patch{MaxPINAttempts: &one}, acme().Settings, c.now)
		_, parties := c.a.WithParties(nil, people(3), c.now)
		if code(patch) != CodeAllocationNotActive || code(parties) != CodeAllocationNotActive {
			t.Errorf("%s: %v, %v", name, patch, parties)
		}
	}
}

func TestOnlyAGreenPinAllocationMayHaveNobodyToRing(t *testing.T) {
	later := noon.Add(time.Minute)
	pin, err := greenpin(t, Draft{From: people(1)}).WithParties(nil, people(2), later)
	if err != nil || !slices.Equal(pin.To, people(2)) {
		t.Fatalf("to set later: %v, %v", err, Texts(pin.To))
	}
	if pin, err = pin.WithParties(nil, []e164.Number{}, later); err != nil || len(pin.To) != 0 || pin.To == nil {
		t.Errorf("to taken away: %v, %v", err, Texts(pin.To))
	}
	if _, err = pin.WithParties([]e164.Number{}, nil, later); field(err) != "from" {
		t.Errorf("from taken away: %v", err)
	}
	if _, err = active(t, Draft{From: people(1), To: people(2)}).WithParties(nil, []e164.Number{}, later); field(err) != "to" {
		t.Errorf("to of GreenVN taken away: %v", err)
	}
}

func TestClaimsOfBothProductsOnBothSharings(t *testing.T) {
	pin := greenpin(t, Draft{From: people(1), To: people(2)})
	plain := active(t, Draft{From: people(1), To: people(2)})
	fallback := plain
	fallback.PIN, fallback.ToPIN = "7062", "5913"
	oneSided := active(t, Draft{From: people(1), To: people(2), Usage: OneWay})
	oneSided.PIN = "7062"
	for name, c := range map[string]struct {
		a       Allocation
		sharing Sharing
		want    []string
	}{
		"GreenPin, shared":                  {pin, Shared, []string{"#4801"}},
		"GreenPin, exclusive":               {pin, Exclusive, []string{"#4801"}},
		"GreenVN, shared":                   {plain, Shared, Texts(people(1, 2))},
		"GreenVN, exclusive":                {plain, Exclusive, append([]string{AnyCaller}, Texts(people(1, 2))...)},
		"GreenVN with PINs, shared":         {fallback, Shared, append([]string{"#5913", "#7062"}, Texts(people(1, 2))...)},
		"GreenVN with PINs, exclusive":      {fallback, Exclusive, append([]string{"#5913", "#7062", AnyCaller}, Texts(people(1, 2))...)},
		"oneway GreenVN with a PIN, shared": {oneSided, Shared, append([]string{"#7062"}, Texts(people(1))...)},
	} {
		claims := c.a.Claims(c.sharing)
		keys := names(claims, func(c Claim) string { return c.Caller })
		if !slices.Equal(keys, c.want) {
			t.Errorf("%s: claims %q", name, keys)
		}
		for _, k := range claims {
			if k.VirtualNumber != vn(1) || k.Allocation != c.a.ID || !k.ExpiresAt.Equal(c.a.ExpiresAt) {
				t.Errorf("%s: %+v", name, k)
			}
		}
	}
	if got := pin.Callers(); got != nil {
		t.Errorf("known by their number: %v", Texts(got))
	}
	if got := pin.Silent(); got != nil {
		t.Errorf("silent: %v", Texts(got))
	}
}

func TestNobodyIsLetThroughAGreenPinAllocationByHisNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{Product: GreenPin, From: few(1, 5).Draw(t, "from"), To: few(0, 5).Draw(t, "to"), Duration: time.Hour}
		a, err := d.New("gp_1", acme(), noon)
		if err != nil {
			return
		}
		a.VirtualNumber, a.PIN = vn(1), "4801"
		now := noon.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes")) * time.Minute)
		if p, err := Admit(routeTo(a), person(rapid.IntRange(0, 14).Draw(t, "caller")), now); err == nil {
			t.Fatalf("rings %v", Texts(p.Targets))
		}
	})
}
