package masking

import (
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
)

var (
	announce = StrangerPolicy{Action: Announce}
	askPIN   = StrangerPolicy{Action: AskPIN}
	forward  = StrangerPolicy{Action: Forward, Forward: person(50)}
	webhook  = StrangerPolicy{Action: AskWebhook, URL: "https://tenant.example/stranger"}
	reject   = StrangerPolicy{Action: Reject}
	policies = []StrangerPolicy{announce, askPIN, forward, webhook, reject}
)

// policed is a number with a policy of its own, or its tenant's with the zero one.
func policed(number, tenant StrangerPolicy, pins bool, found ...Allocation) Route {
	r := routeTo(found...)
	r.Number.Strangers, r.Tenant.Settings.Strangers, r.PINs = number, tenant, pins
	return r
}

func TestWhatAStrangerGets(t *testing.T) {
	strange := []Refusal{RefusedStranger, RefusedExpired, RefusedWrongDirection}
	others := []Refusal{RefusedUnknownNumber, RefusedCallerBusy, RefusedUnavailable, RefusedPIN, RefusedPINLocked, RefusedLoop, "new"}
	for _, own := range append(policies, StrangerPolicy{}) {
		for _, tenants := range policies {
			for _, pins := range []bool{false, true} {
				r, effective := policed(own, tenants, pins), own
				if own.Action == "" {
					effective = tenants
				}
				want := map[Refusal]StrangerAction{RefusedWithheld: Reject}
				for _, why := range strange {
					want[why] = effective.Action
				}
				if effective.Action == AskPIN {
					want[RefusedWithheld] = AskPIN
				}
				for why := range want {
					if pins {
						want[why] = AskPIN
					}
				}
				for _, why := range others {
					want[why] = Reject
				}
				for why, action := range want {
					if got := Treat(r, why); got != (Treatment{action, why, effective}) {
						t.Errorf("number %q, tenant %q, PINs %v, %s: %+v, want %s", own.Action, tenants.Action, pins, why, got, action)
					}
				}
			}
		}
	}
}

func TestACallIsRungOrTreatedByItsPolicy(t *testing.T) {
	two := active(t, Draft{From: people(1), To: people(2)})
	one := active(t, Draft{From: people(1), To: people(2), Usage: OneWay})
	over := noon.Add(time.Hour)
	for _, c := range []struct {
		name   string
		r      Route
		caller e164.Number
		now    time.Time
		want   []e164.Number
		why    Refusal
		then   StrangerAction
	}{
		{"a party, whatever the policy", policed(reject, reject, true, two), person(1), noon, people(2), "", ""},
		{"a stranger, announce", policed(announce, reject, false), person(9), noon, nil, RefusedStranger, Announce},
		{"the tenant's policy", policed(StrangerPolicy{}, webhook, false), person(9), noon, nil, RefusedStranger, AskWebhook},
		{"reject", policed(reject, announce, false), person(9), noon, nil, RefusedStranger, Reject},
		{"PIN by policy", policed(askPIN, announce, false), person(9), noon, nil, RefusedStranger, AskPIN},
		{"PINs on the number", policed(reject, announce, true), person(9), noon, nil, RefusedStranger, AskPIN},
		{"expired", policed(announce, reject, false, two), person(1), over, nil, RefusedExpired, Announce},
		{"expired, PINs", policed(announce, reject, true, two), person(1), over, nil, RefusedExpired, AskPIN},
		{"wrong direction", policed(announce, reject, false, one), person(2), noon, nil, RefusedWrongDirection, Announce},
		{"withheld", policed(announce, announce, false), withheld, noon, nil, RefusedWithheld, Reject},
		{"withheld, PINs", policed(reject, announce, true), withheld, noon, nil, RefusedWithheld, AskPIN},
		{"withheld is not forwarded", policed(forward, announce, false), withheld, noon, nil, RefusedWithheld, Reject},
		{"withheld is not asked about", policed(webhook, announce, false), withheld, noon, nil, RefusedWithheld, Reject},
		{"forward", policed(forward, announce, false), person(9), noon, people(50), "", ""},
		{"forward, PINs", policed(forward, announce, true), person(9), noon, nil, RefusedStranger, AskPIN},
		{"forward to himself", policed(forward, announce, false), person(50), noon, nil, RefusedStranger, Announce},
	} {
		got := Rule(c.r, c.caller, c.now)
		if !slices.Equal(got.Plan.Targets, c.want) || got.Refusal != c.why || got.Then != c.then {
			t.Errorf("%s: %v, %q, %q", c.name, Texts(got.Plan.Targets), got.Refusal, got.Then)
		}
		if p := got.Plan; p.Tenant.ID != "acme" || p.VirtualNumber != vn(1) || p.Caller != c.caller {
			t.Errorf("%s: does not say whose call it is: %+v", c.name, p)
		}
		if got.Refusal != "" && got.Plan.Allocation.ID != "" {
			t.Errorf("%s: refused, as %s's", c.name, got.Plan.Allocation.ID)
		}
		if got.Then == AskWebhook && got.Policy.URL != webhook.URL {
			t.Errorf("%s: asks %q", c.name, got.Policy.URL)
		}
	}
}

func TestAStrangerWhoIsForwardedIsOfNoAllocation(t *testing.T) {
	r := policed(forward, announce, false)
	r.Tenant.Settings.RingEach, r.Tenant.Settings.RingTotal = 11*time.Second, 22*time.Second
	p := Rule(r, person(9), noon).Plan
	if p.Allocation.ID != "" || p.Direction != "" || p.RingEach != 11*time.Second || p.RingTotal != 22*time.Second || p.Allocation.Record {
		t.Errorf("%+v", p)
	}
}

func TestAPolicyThatCannotBeCarriedOutIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		p  StrangerPolicy
		ok bool
	}{
		"the tenant's":        {StrangerPolicy{}, true},
		"announce":            {announce, true},
		"pin":                 {askPIN, true},
		"reject":              {reject, true},
		"forward":             {forward, true},
		"forward to nobody":   {StrangerPolicy{Action: Forward}, false},
		"webhook":             {webhook, true},
		"webhook, http":       {StrangerPolicy{Action: AskWebhook, URL: "http://10.0.0.1:8080/x?y=z"}, true},
		"webhook, IPv6":       {StrangerPolicy{Action: AskWebhook, URL: "https://[2001:db8::1]/"}, true},
		"webhook, nowhere":    {StrangerPolicy{Action: AskWebhook}, false},
		"webhook, no host":    {StrangerPolicy{Action: AskWebhook, URL: "https:///x"}, false},
		"webhook, only port":  {StrangerPolicy{Action: AskWebhook, URL: "https://:443/x"}, false},
		"webhook, ftp":        {StrangerPolicy{Action: AskWebhook, URL: "ftp://tenant.example/"}, false},
		"webhook, file":       {StrangerPolicy{Action: AskWebhook, URL: "file:///etc/passwd"}, false},
		"webhook, no scheme":  {StrangerPolicy{Action: AskWebhook, URL: "tenant.example/x"}, false},
		"webhook, a password": {StrangerPolicy{Action: AskWebhook, URL: "https://u:p@tenant.example/"}, false},
		"webhook, garbage":    {StrangerPolicy{Action: AskWebhook, URL: "https://a b\x00"}, false},
		"webhook, as long":    {StrangerPolicy{Action: AskWebhook, URL: "https://a/" + strings.Repeat("x", 2038)}, true},
		"webhook, too long":   {StrangerPolicy{Action: AskWebhook, URL: "https://a/" + strings.Repeat("x", 2039)}, false},
		"another word":        {StrangerPolicy{Action: "Announce"}, false},
	} {
		err := c.p.Check()
		if (err == nil) != c.ok || !c.ok && (field(err) != "stranger_policy" || KindOf(err) != Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && c.p.URL != "" && strings.Contains(err.Error(), c.p.URL) {
			t.Errorf("%s: the address is repeated: %v", name, err)
		}
	}
}
