package masking

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSharedNumbersAreAskedForFirstAndWhatIsPreferredBeforeTheRest(t *testing.T) {
	for _, c := range []struct {
		p    Preferences
		want []Pick
	}{
		{Preferences{}, []Pick{{Shared, "", ""}, {Exclusive, "", ""}}},
		{Preferences{Strict: true}, []Pick{{Shared, "", ""}, {Exclusive, "", ""}}},
		{Preferences{Region: "AP"}, []Pick{{Shared, "AP", ""}, {Exclusive, "AP", ""}, {Shared, "", ""}, {Exclusive, "", ""}}},
		{Preferences{Type: "mobile"}, []Pick{{Shared, "", "mobile"}, {Exclusive, "", "mobile"}, {Shared, "", ""}, {Exclusive, "", ""}}},
		{Preferences{Region: "AP", Type: "mobile", Strict: true}, []Pick{{Shared, "AP", "mobile"}, {Exclusive, "AP", "mobile"}}},
	} {
		if got := c.p.Picks(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
}

func TestTheLeastLoadedThenTheLongestAtRestIsBest(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) VirtualNumber {
		n := VirtualNumber{Number: vn(rapid.IntRange(0, 99).Draw(t, "number")), Load: rapid.IntRange(0, 2).Draw(t, "load")}
		if at := rapid.IntRange(0, 2).Draw(t, "rested"); at > 0 {
			n.RestedAt = noon.Add(time.Duration(at) * time.Hour)
		}
		return n
	})
	rapid.Check(t, func(t *rapid.T) {
		usable := rapid.SliceOfNDistinct(number, 0, 12, func(n VirtualNumber) string { return n.Number.E164() }).Draw(t, "usable")
		before := slices.Clone(usable)
		ranked := Rank(usable)
		if !slices.Equal(usable, before) {
			t.Fatal("the argument was changed")
		}
		if len(ranked) != len(usable) || slices.ContainsFunc(usable, func(n VirtualNumber) bool { return !slices.Contains(ranked, n) }) {
			t.Fatal("numbers were lost")
		}
		for i := range ranked[:max(len(ranked)-1, 0)] {
			a, b := ranked[i], ranked[i+1]
			if cmp.Or(cmp.Compare(a.Load, b.Load), a.RestedAt.Compare(b.RestedAt), a.Number.Compare(b.Number)) >= 0 {
				t.Fatalf("%+v before %+v", a, b)
			}
		}
		slices.Reverse(before)
		if !slices.Equal(Rank(before), ranked) {
			t.Fatal("another node chooses otherwise")
		}
	})
}

func TestOfSharingOnlyTheTwoModesAreRead(t *testing.T) {
	for text, want := range map[string]Sharing{"": Exclusive, "exclusive": Exclusive, "shared": Shared} {
		if got, err := ParseSharing(text); got != want || err != nil {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"Shared", "both", " shared"} {
		if _, err := ParseSharing(text); field(err) != "sharing" || KindOf(err) != Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTheRefusalsOfThePoolTellWhatToDo(t *testing.T) {
	if err := ErrNoNumber(noon); err.Kind != Exhausted || !err.RetryAfter.Equal(noon) || err.Code != CodeNoNumberAvailable {
		t.Errorf("%+v", err)
	}
	if err := ErrNotInPool(); err.Kind != Invalid || err.Code != CodeNotInPool || err.Field != "caller_id_number" {
		t.Errorf("%+v", err)
	}
}

func trunk(name string) Trunk {
	return Trunk{Name: name, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Targets: []Target{{Host: "192.0.2.1", Port: 5060}}, Transport: UDP, Country: "IN",
		NumberFormat: FormatE164, Weight: 1, CallerIDs: []string{"*"}}
}

func account(t *Trunk) {
	t.Auth = Credentials{Username: "acme", Sealed: []byte("x")}
	t.Register = Registration{Domain: "carrier.example", Expires: time.Hour}
}

func TestATargetIsAnAddressWithAPortOrAName(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:5060": "192.0.2.1:5060", "[2001:db8::1]:5060": "[2001:db8::1]:5060", "[::ffff:192.0.2.1]:5060": "192.0.2.1:5060",
		"SIP.Carrier.Example": "sip.carrier.example", "sip.carrier.example.:5070": "sip.carrier.example:5070", "localhost": "localhost",
		"_sip.carrier.example": "_sip.carrier.example", "3cx.carrier.example": "3cx.carrier.example",
		"": "", "192.0.2.1": "", "192.0.2.1:0": "", "0.0.0.0:5060": "", "[fe80::1%eth0]:5060": "", "192.0.2.256:5060": "", "2001:db8::1": "",
		"a..b": "", "-a.b": "", "a b": "", "a:b": "", "a:65536": "", "a:0": "", "a/b": "", strings.Repeat("a.", 127) + "b": "",
	} {
		got, ok := ParseTarget(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q is %v, %v", text, got, ok)
		}
		if again, ok := ParseTarget(got.String()); want != "" && (!ok || again != got) {
			t.Errorf("%q read again is %v, %v", text, again, ok)
		}
	}
}

func TestATrunkThatCannotWorkIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Trunk)
		field  string
	}{
		"as it should be":       {func(*Trunk) {}, ""},
		"incoming only":         {func(t *Trunk) { t.Targets = nil }, ""},
		"outgoing only":         {func(t *Trunk) { t.Sources = nil }, ""},
		"neither":               {func(t *Trunk) { t.Sources, t.Targets = nil, nil }, "sources"},
		"no name":               {func(t *Trunk) { t.Name = "" }, "name"},
		"name with a slash":     {func(t *Trunk) { t.Name = "a/b" }, "name"},
		"name of 64":            {func(t *Trunk) { t.Name = strings.Repeat("a", 64) }, "name"},
		"transport":             {func(t *Trunk) { t.Transport = "sctp" }, "transport"},
		"country":               {func(t *Trunk) { t.Country = "in" }, "country"},
		"number format":         {func(t *Trunk) { t.NumberFormat = "" }, "number_format"},
		"negative weight":       {func(t *Trunk) { t.Weight = -1 }, "priority"},
		"negative limit":        {func(t *Trunk) { t.MaxCPS = -1 }, "priority"},
		"caller IDs":            {func(t *Trunk) { t.CallerIDs = []string{"*", "+9140*", "+914000000001"} }, ""},
		"caller ID without +":   {func(t *Trunk) { t.CallerIDs = []string{"9140*"} }, "caller_ids"},
		"prefixes":              {func(t *Trunk) { t.StripPrefixes, t.AddPrefix = []string{"9901#", "+"}, "*31" }, ""},
		"prefix of letters":     {func(t *Trunk) { t.StripPrefixes = []string{"a"} }, "strip_prefixes"},
		"prefix added":          {func(t *Trunk) { t.AddPrefix = "1 2" }, "add_prefix"},
		"many prefixes":         {func(t *Trunk) { t.StripPrefixes = slices.Repeat([]string{"1"}, 17) }, "strip_prefixes"},
		"an account":            {account, ""},
		"user with a quote":     {func(t *Trunk) { account(t); t.Auth.Username = `a"b` }, "auth.username"},
		"no password":           {func(t *Trunk) { account(t); t.Auth.Sealed = nil }, "auth.password"},
		"realm of two lines":    {func(t *Trunk) { account(t); t.Auth.Realm = "a\r\nb" }, "auth.realm"},
		"domain with a port":    {func(t *Trunk) { account(t); t.Register.Domain = "carrier.example:5060" }, "register.domain"},
		"domain of addresses":   {func(t *Trunk) { account(t); t.Register.Domain = "192.0.2.1" }, ""},
		"no contact":            {func(t *Trunk) { account(t); t.Auth = Credentials{} }, "register.contact_user"},
		"contact with an @":     {func(t *Trunk) { account(t); t.Register.ContactUser = "a@b" }, "register.contact_user"},
		"short registration":    {func(t *Trunk) { account(t); t.Register.Expires = time.Second }, "register.expires"},
		"nowhere to register":   {func(t *Trunk) { account(t); t.Targets = nil }, "targets"},
		"taken over or not":     {func(t *Trunk) { t.Takeover = "perhaps" }, "takeover"},
		"asked all the time":    {func(t *Trunk) { t.OptionsEvery = time.Second }, "options_seconds"},
		"star within caller ID": {func(t *Trunk) { t.CallerIDs = []string{"+91*40"} }, "caller_ids"},
	} {
		tr := trunk("carrier-a")
		c.change(&tr)
		if err := tr.Check(); field(err) != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATrunkPresentsOnlyWhatItMay(t *testing.T) {
	for _, c := range []struct {
		ids  []string
		want bool
	}{
		{nil, false}, {[]string{"*"}, true}, {[]string{"+9140*"}, true}, {[]string{"+9141*"}, false},
		{[]string{"+914000000001"}, true}, {[]string{"+91400000000"}, false}, {[]string{"+9141*", "+914000000001"}, true},
	} {
		tr := trunk("a")
		tr.CallerIDs = c.ids
		if got := tr.MayPresent(vn(1)); got != c.want {
			t.Errorf("%v: %v", c.ids, got)
		}
	}
}

func TestATrunkIsKnownByItsSources(t *testing.T) {
	tr := trunk("a")
	tr.Sources = append(tr.Sources, netip.MustParsePrefix("2001:db8::/32"))
	for text, want := range map[string]bool{"192.0.2.77": true, "::ffff:192.0.2.77": true, "192.0.3.1": false,
		"2001:db8::5": true, "2001:db9::5": false, "::1": false} {
		if got := tr.Admits(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if tr.Admits(netip.Addr{}) {
		t.Error("no address is a source")
	}
}

func TestOutgoingTrunksAreTriedByPriorityAndOnlyThoseThatMay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var trunks []Trunk
		for i := range rapid.IntRange(0, 8).Draw(t, "trunks") {
			tr := trunk(string(rune('a' + i)))
			tr.Priority = rapid.IntRange(0, 2).Draw(t, "priority")
			tr.Weight = rapid.IntRange(0, 3).Draw(t, "weight")
			if rapid.IntRange(0, 4).Draw(t, "way") == 0 {
				tr.Targets = nil
			}
			tr.CallerIDs = rapid.SampledFrom([][]string{{"*"}, {"+9140*"}, {"+1*"}, nil}).Draw(t, "ids")
			trunks = append(trunks, tr)
		}
		before := slices.Clone(trunks)
		got := OutgoingTrunks(trunks, vn(1), func(n int) int {
			if n < 1 {
				t.Fatalf("draws of %d", n)
			}
			return rapid.IntRange(0, n-1).Draw(t, "draw")
		})
		name := func(t Trunk) string { return t.Name }
		if !slices.Equal(names(trunks, name), names(before, name)) {
			t.Fatal("the argument was changed")
		}
		var want []string
		for _, tr := range trunks {
			if len(tr.Targets) > 0 && tr.MayPresent(vn(1)) {
				want = append(want, tr.Name)
			}
		}
		have := names(got, name)
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Fatalf("gave %v, want %v", have, want)
		}
		for i := range got {
			if i > 0 && got[i-1].Priority > got[i].Priority {
				t.Fatalf("priority %d before %d", got[i-1].Priority, got[i].Priority)
			}
			if i > 0 && got[i-1].Priority == got[i].Priority && got[i-1].Weight == 0 && got[i].Weight > 0 {
				t.Fatal("a trunk of weight 0 before one with weight")
			}
		}
	})
}

func names[T any](list []T, name func(T) string) []string {
	var out []string
	for _, v := range list {
		out = append(out, name(v))
	}
	return out
}

// Every draw comes once, so the shares are exact.
func TestEqualsShareByWeight(t *testing.T) {
	a, b, c := trunk("a"), trunk("b"), trunk("c")
	a.Weight, b.Weight, c.Weight = 5, 3, 0
	first := map[string]int{}
	for at := range 8 {
		draws := 0
		got := OutgoingTrunks([]Trunk{a, b, c}, vn(1), func(n int) int {
			if draws++; draws == 1 && n == 8 {
				return at
			}
			return 0
		})
		first[got[0].Name]++
	}
	if first["a"] != 5 || first["b"] != 3 {
		t.Errorf("first were %v", first)
	}
}
