package api_test

import (
	"net/netip"
	"strings"
	"testing"
)

func TestATenantIsMadeReadChangedAndRemoved(t *testing.T) {
	h := newHarness(t)
	made := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"zeta","name":"Zeta","rate_limit":{"per_second":50,"burst":200}}`).want(201)
	if len(made.fields) != 3 || made.text("tenant_id") != "zeta" || !strings.HasPrefix(made.text("account_sid"), "ac_") ||
		!strings.HasPrefix(made.text("token"), "tdm_") || len(made.text("token")) != 68 {
		t.Errorf("made %s", made.body)
	}
	sid := made.text("account_sid")
	h.admin("GET", "/v1/admin/tenants/zeta", "").want(200).
		exactly(`{"response":{"tenant_id":"zeta","account_sid":"` + sid + `","name":"Zeta","rate_limit":{"per_second":50,"burst":200},"max_calls":0,"permitted_prefixes":[],"timezone":"Asia/Kolkata","country":"IN","language":"en","max_duration":14688000,"ring_seconds":20,"ring_total_seconds":60,"ring_strategy":"sequential","max_call_seconds":14400,"end_calls_with_allocation":false,"max_allocation_calls":0,"max_caller_calls_per_minute":0,"pin_length":4,"pin_fallback":false,"stranger_policy":{"action":"announce"},"recording_announcement":false,"recording_retention_days":0,"retention_days":0,"allowed_prefixes":[],"max_allocation_calls_per_day":0,"max_allocation_minutes_per_day":0,"velocity_alarm":{"minutes":10,"caller_calls":0,"allocation_calls":0,"tenant_calls":0,"block":false},"created_at":"2024-06-15T10:30:00+05:30"}}`)
	h.admin("PUT", "/v1/admin/tenants/zeta", `{"timezone":"Europe/Berlin","rate_limit":{"burst":10},"ring_seconds":30}`).want(200).
		exactly(`{"response":{"tenant_id":"zeta","account_sid":"` + sid + `","name":"Zeta","rate_limit":{"per_second":50,"burst":10},"max_calls":0,"permitted_prefixes":[],"timezone":"Europe/Berlin","country":"IN","language":"en","max_duration":14688000,"ring_seconds":30,"ring_total_seconds":60,"ring_strategy":"sequential","max_call_seconds":14400,"end_calls_with_allocation":false,"max_allocation_calls":0,"max_caller_calls_per_minute":0,"pin_length":4,"pin_fallback":false,"stranger_policy":{"action":"announce"},"recording_announcement":false,"recording_retention_days":0,"retention_days":0,"allowed_prefixes":[],"max_allocation_calls_per_day":0,"max_allocation_minutes_per_day":0,"velocity_alarm":{"minutes":10,"caller_calls":0,"allocation_calls":0,"tenant_calls":0,"block":false},"created_at":"2024-06-15T07:00:00+02:00"}}`)
	h.admin("PUT", "/v1/admin/tenants/zeta", `{}`).want(200)
	if got := h.admin("GET", "/v1/admin/tenants", "").want(200).body; !strings.Contains(got, `"acme"`) || !strings.Contains(got, `"zeta"`) {
		t.Errorf("tenants %s", got)
	}
	h.numbers("zeta", "+914888000001", "exclusive")
	h.admin("DELETE", "/v1/admin/tenants/zeta", "").refused(409, "still_in_use", "")
	h.admin("DELETE", "/v1/admin/tenants/zeta/numbers/+914888000001", "").want(200)
	h.admin("DELETE", "/v1/admin/tenants/zeta", "").want(200)
	h.admin("GET", "/v1/admin/tenants/zeta", "").refused(404, "not_found", "")
	h.do("GET", "/v1/tenants/zeta/greenvn", "", as(sid, made.text("token"))).want(401)
}

func TestTenantsAreRefusedByName(t *testing.T) {
	h := newHarness(t)
	for body, field := range map[string]string{
		`{}`: "tenant_id", `{"tenant_id":null}`: "tenant_id", `{"tenant_id":"Acme"}`: "tenant_id", `{"tenant_id":"-a"}`: "tenant_id",
		`{"tenant_id":"x","timezone":"Mars/Base"}`: "timezone", `{"tenant_id":"x","timezone":""}`: "timezone",
		`{"tenant_id":"x","timezone":"Local"}`: "timezone", `{"tenant_id":"x","timezone":"../../etc/passwd"}`: "timezone",
		`{"tenant_id":"x","rate_limit":{"per_second":0}}`: "rate_limit", `{"tenant_id":"x","rate_limit":{"burst":"9"}}`: "rate_limit.burst",
		`{"tenant_id":"x","rate_limit":5}`: "rate_limit", `{"tenant_id":"x","max_duration":0}`: "max_duration",
		`{"tenant_id":"x","ring_seconds":4}`: "ring_seconds", `{"tenant_id":"x","ring_total_seconds":9}`: "ring_total_seconds",
		`{"tenant_id":"x","ring_total_seconds":9223372036854775807}`:  "ring_total_seconds",
		`{"tenant_id":"x","name":"` + strings.Repeat("n", 129) + `"}`: "name",
	} {
		if a := h.admin("POST", "/v1/admin/tenants", body); a.status != 400 || a.text("field") != field {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"acme"}`).want(409); a.text("code") != "already_exists" {
		t.Errorf("%s", a.body)
	}
	h.admin("PUT", "/v1/admin/tenants/nobody", `{}`).refused(404, "not_found", "")
	h.admin("POST", "/v1/admin/tenants/nobody/tokens", `{}`).refused(404, "not_found", "")
	h.admin("GET", "/v1/admin/tenants/nobody/tokens", "").refused(404, "not_found", "")
	h.admin("POST", "/v1/admin/tenants/acme/tokens", `{"label":"`+strings.Repeat("l", 65)+`"}`).refused(400, "invalid_field", "label")
}

func TestNumbersGoInAndOutOfPools(t *testing.T) {
	h := newHarness(t)
	h.admin("POST", "/v1/admin/tenants/acme/numbers", `{"numbers":[{"number":"+91 4777 000001"},{"number":"+914777000002","sharing":"shared","region":"KA","type":"mobile"}]}`).want(201).
		exactly(`{"response":{"items":[{"number":"+914777000001","sharing":"exclusive","region":"","type":"","active_allocations":0,"created_at":"2024-06-15T10:30:00+05:30"},{"number":"+914777000002","sharing":"shared","region":"KA","type":"mobile","active_allocations":0,"created_at":"2024-06-15T10:30:00+05:30"}],"next_cursor":""}}`)
	h.create(vn1, alice, bob)
	h.tenant("other")
	add := func(body string) *answer {
		return h.admin("POST", "/v1/admin/tenants/other/numbers", body)
	}
	add(`{"numbers":[]}`).refused(400, "invalid_field", "numbers")
	add(`{"numbers":{}}`).refused(400, "invalid_field", "numbers")
	add(`{"numbers":["+914777000009"]}`).refused(400, "invalid_field", "numbers[0]")
	add(`{"numbers":[{"number":"+914777000009"},{"number":"9"}]}`).refused(400, "invalid_number", "numbers[1].number")
	add(`{"numbers":[{"number":"112"}]}`).refused(400, "emergency_number", "numbers[0].number")
	add(`{"numbers":[{"sharing":"shared"}]}`).refused(400, "missing_field", "numbers[0].number")
	add(`{"numbers":[{"number":"+914777000009","sharing":"half"}]}`).refused(400, "invalid_field", "numbers[0].sharing")
	add(`{"numbers":[{"number":"+914777000009"},{"number":"`+vn2+`"}]}`).refused(409, "already_exists", "numbers[1].number")
	add(`{"numbers":[{"number":"+914777000009"},{"number":"`+alice+`"}]}`).refused(409, "still_in_use", "numbers[1].number")
	if got := h.admin("GET", "/v1/admin/tenants/other/numbers", "").page(); len(got.Response.Items) != 0 {
		t.Errorf("a refused list left %v", got.Response.Items)
	}
	add(`{"numbers":[{"number":"+914777000009"}]}`).want(201)

	one := "/v1/admin/tenants/acme/numbers/"
	h.admin("GET", one+"%2B914000000001", "").want(200)
	h.admin("GET", one+"+914777000009", "").refused(404, "not_found", "")
	h.admin("GET", one+"abc", "").refused(400, "invalid_number", "number")
	h.admin("PUT", one+vn1, `{"sharing":"shared"}`).want(409)
	h.admin("PUT", one+vn2, `{"sharing":"half"}`).refused(400, "invalid_field", "sharing")
	changed := h.admin("PUT", one+vn2, `{"sharing":"shared","region":"TN"}`).want(200)
	if changed.text("sharing") != "shared" || changed.text("region") != "TN" || changed.text("type") != "landline" {
		t.Errorf("changed %s", changed.body)
	}
	h.admin("DELETE", one+vn1, "").want(409)
	h.admin("DELETE", one+vn2, "").want(200)
	h.admin("DELETE", one+vn2, "").refused(404, "not_found", "")
	h.own("POST", "/greenvn", body(vn2, carol, dave)).refused(400, "virtual_number_not_in_pool", "caller_id_number")
}

func TestTrunksAreKeptAsDescribed(t *testing.T) {
	h := newHarness(t)
	const full = `{"name":"carrier-a","sources":["127.0.0.2/32","192.0.2.7/24","2001:db8::1"],"targets":["127.0.0.2:5080","[2001:db8::1]:5060"],"transport":"udp","country":"IN","number_format":"plain","strip_prefixes":["9901#"],"add_prefix":"77","trust_identity":true,"early_media":false,"priority":2,"weight":3,"max_calls":4,"max_cps":5,"caller_ids":["+9140*"],"auth":{"username":"acme","password":"hush","realm":"carrier.example"},"register":{"domain":"Carrier.example","expires":600},"options_seconds":60}`
	const shown = `{"response":{"name":"carrier-a","sources":["127.0.0.2/32","192.0.2.0/24","2001:db8::1/128"],"targets":["127.0.0.2:5080","[2001:db8::1]:5060"],"transport":"udp","country":"IN","number_format":"plain","strip_prefixes":["9901#"],"add_prefix":"77","trust_identity":true,"early_media":false,"priority":2,"weight":3,"max_calls":4,"max_cps":5,"caller_ids":["+9140*"],"srtp":"off","auth":{"username":"acme","realm":"carrier.example","password_set":true},"register":{"domain":"carrier.example","contact_user":"acme","expires":600},"options_seconds":60,"takeover":"auto","created_at":"2024-06-15T05:00:00Z","updated_at":"2024-06-15T05:00:00Z"`
	h.admin("POST", "/v1/admin/trunks", full).want(201).exactly(shown + "}}")
	h.admin("GET", "/v1/admin/trunks/carrier-a", "").want(200).exactly(shown + `,"health":{"asked":"carrier-a","state":"up"}}}`)
	h.admin("POST", "/v1/admin/trunks", full).want(409)
	h.admin("POST", "/v1/admin/trunks", `{"name":"b","targets":["192.0.2.1:5060"],"country":"IN"}`).want(201).
		exactly(`{"response":{"name":"b","sources":[],"targets":["192.0.2.1:5060"],"transport":"udp","country":"IN","number_format":"e164","strip_prefixes":[],"add_prefix":"","trust_identity":false,"early_media":false,"priority":1,"weight":1,"max_calls":0,"max_cps":0,"caller_ids":["*"],"srtp":"off","options_seconds":30,"takeover":"auto","created_at":"2024-06-15T05:00:00Z","updated_at":"2024-06-15T05:00:00Z"}}`)
	changed := h.admin("PUT", "/v1/admin/trunks/b", `{"sources":["192.0.2.1"],"transport":"tcp","weight":9,"takeover":"off"}`).want(200)
	if !strings.Contains(changed.body, `"targets":["192.0.2.1:5060"],"transport":"tcp"`) || !strings.Contains(changed.body, `"weight":9`) ||
		!strings.Contains(changed.body, `"takeover":"off"`) {
		t.Errorf("changed %s", changed.body)
	}
	if got := h.admin("GET", "/v1/admin/trunks", "").page(); len(got.Response.Items) != 2 {
		t.Errorf("trunks %v", got)
	}
	h.admin("DELETE", "/v1/admin/trunks/b", "").want(200)
	h.admin("DELETE", "/v1/admin/trunks/b", "").refused(404, "not_found", "")
	h.admin("PUT", "/v1/admin/trunks/b", `{}`).refused(404, "not_found", "")
}

func TestAPasswordOfATrunkIsSealedUnderItsNameAndNeverShown(t *testing.T) {
	h := newHarness(t)
	sealed := func() string {
		k, err := h.plane.Trunks.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		return string(k.Auth.Sealed)
	}
	const made = `{"name":"k","country":"IN","targets":["192.0.2.1:5060"],"auth":{"username":"u","password":"hush"}}`
	for _, a := range []*answer{h.admin("POST", "/v1/admin/trunks", made).want(201), h.admin("GET", "/v1/admin/trunks/k", "").want(200),
		h.admin("GET", "/v1/admin/trunks", "").want(200), h.admin("PUT", "/v1/admin/trunks/k", `{"auth":{"realm":"r"}}`).want(200)} {
		if strings.Contains(a.body, "hush") || !strings.Contains(a.body, `"password_set":true`) {
			t.Errorf("%s", a.body)
		}
	}
	if got := sealed(); got != "k keeps hush" {
		t.Errorf("kept %q", got)
	}
	h.admin("PUT", "/v1/admin/trunks/k", `{"auth":{"password":"other"}}`).want(200)
	if got := sealed(); got != "k keeps other" {
		t.Errorf("changed to %q", got)
	}
	if a := h.admin("PUT", "/v1/admin/trunks/k", `{"auth":{"username":""}}`).want(200); strings.Contains(a.body, `"auth"`) || sealed() != "" {
		t.Errorf("removed: %s, kept %q", a.body, sealed())
	}
	reg := `{"register":{"domain":"carrier.example","contact_user":"u"}}`
	if a := h.admin("PUT", "/v1/admin/trunks/k", reg).want(200); !strings.Contains(a.body, `"expires":3600`) {
		t.Errorf("%s", a.body)
	}
	if a := h.admin("PUT", "/v1/admin/trunks/k", `{"register":{"domain":""}}`).want(200); strings.Contains(a.body, `"register"`) {
		t.Errorf("%s", a.body)
	}
}

func TestWhatATrunkCannotDoYetIsRefusedByName(t *testing.T) {
	h := newHarness(t)
	h.admin("POST", "/v1/admin/trunks", `{"name":"a","targets":["192.0.2.1:5060"],"country":"IN"}`).want(201)
	for member, field := range map[string]string{
		`"auth":null`: "auth", `"auth":{"username":"u"}`: "auth.password", `"auth":{"password":"p"}`: "auth.username",
		`"auth":{"username":"u v","password":"p"}`: "auth.username", `"auth":{"username":"u","password":""}`: "auth.password",
		`"register":{"domain":"d:5060","contact_user":"u"}`: "register.domain", `"register":{"domain":"d"}`: "register.contact_user",
		`"register":{"domain":"d","contact_user":"u","expires":59}`: "register.expires", `"register":true`: "register",
		`"options_seconds":4`: "options_seconds", `"add_prefix":"a"`: "add_prefix", `"strip_prefixes":[""]`: "strip_prefixes",
		`"early_media":true`: "early_media", `"transport":"ws"`: "transport",
		`"targets":["sip.carrier.example:0"]`: "targets", `"targets":["sip:carrier.example"]`: "targets", `"targets":["-a.example"]`: "targets", `"transport":"auto"`: "transport", `"targets":["sip..example"]`: "targets", `"targets":["192.0.2.1"]`: "targets", `"targets":["192.0.2.1:0"]`: "targets",
		`"targets":["0.0.0.0:5060"]`: "targets", `"targets":"192.0.2.1:5060"`: "targets",
		`"sources":["carrier.example"]`: "sources", `"sources":["192.0.2.0/33"]`: "sources", `"sources":["fe80::1%eth0"]`: "sources",
		`"country":"in"`: "country", `"number_format":"raw"`: "number_format", `"priority":-1`: "priority", `"weight":1.5`: "weight",
		`"max_calls":9223372036854775807,"max_cps":-9223372036854775808`: "priority", `"caller_ids":["abc"]`: "caller_ids",
		`"sources":[],"targets":[]`: "sources",
	} {
		if a := h.admin("PUT", "/v1/admin/trunks/a", "{"+member+"}"); a.status != 400 || a.text("field") != field {
			t.Errorf("PUT %s: %d %s", member, a.status, a.body)
		}
		base := `"name":"b","country":"IN",`
		if !strings.Contains(member, `"targets"`) {
			base += `"targets":["192.0.2.1:5060"],`
		}
		if strings.Contains(member, `"country"`) {
			base = strings.Replace(base, `"country":"IN",`, "", 1)
		}
		if a := h.admin("POST", "/v1/admin/trunks", "{"+base+member+"}"); a.status != 400 || a.text("field") != field {
			t.Errorf("POST %s: %d %s", member, a.status, a.body)
		}
	}
	h.admin("POST", "/v1/admin/trunks", `{"country":"IN"}`).refused(400, "missing_field", "name")
	h.admin("POST", "/v1/admin/trunks", `{"name":"A B","country":"IN","targets":["192.0.2.1:5060"]}`).refused(400, "invalid_field", "name")
	h.admin("POST", "/v1/admin/trunks", `{"name":"c"}`).refused(400, "missing_field", "sources")
}

func TestTheAutomaticChoiceTakesTheBestNumber(t *testing.T) {
	h := newHarness(t)
	pick := func(extra, from, to string) *answer {
		return h.own("POST", "/greenvn", `{"caller_id_number":"auto","from":["`+from+`"],"to":["`+to+`"]`+extra+`}`)
	}
	first := pick("", alice, bob).want(201).text("virtual_number")
	second := pick("", alice, carol).want(201).text("virtual_number")
	if first == second || !strings.Contains(shared1+shared2, first) || !strings.Contains(shared1+shared2, second) {
		t.Errorf("picked %s and %s; the shared ones come first, and alice can be met once on each", first, second)
	}
	if third := pick("", dave, "+915500000005").want(201).text("virtual_number"); third != shared1 && third != shared2 {
		t.Errorf("picked %s for strangers to both", third)
	}
	pick(`,"preferences":{"region":"KA","strictness":"strict"}`, alice, dave).refused(409, "no_number_available", "")
	if n := pick(`,"preferences":{"region":"KA"},"duration":60`, alice, "+916000000001").want(201).text("virtual_number"); n != vn1 {
		t.Errorf("picked %s; only exclusive ones are left for alice", n)
	}
	pick(`,"duration":600`, alice, "+916000000002").want(201)
	full := pick("", alice, "+916000000003").refused(409, "no_number_available", "")
	if got := full.header.Get("Retry-After"); got != "60" {
		t.Errorf("Retry-After %q, want 60: that is when the first number is free", got)
	}
}

func TestATrunksSourcesAreKeptInTheFormInWhichPacketsAreJudged(t *testing.T) {
	h := newHarness(t)
	made := h.admin("POST", "/v1/admin/trunks", `{"name":"mapped","country":"IN","sources":["::ffff:192.0.2.77/120","::ffff:198.51.100.7","::ffff:203.0.113.9/128","192.0.2.1/24","2001:db8::7/32","::ffff:0.0.0.0/96"]}`).want(201)
	const want = `"sources":["192.0.2.0/24","198.51.100.7/32","203.0.113.9/32","192.0.2.0/24","2001:db8::/32","0.0.0.0/0"]`
	if !strings.Contains(made.body, want) {
		t.Errorf("got %s, want %s", made.body, want)
	}
	trunk, err := h.plane.Trunks.Get(t.Context(), "mapped")
	if err != nil || !trunk.Admits(netip.MustParseAddr("::ffff:192.0.2.200")) {
		t.Errorf("an address of the network is not the trunk's: %v", err)
	}
	h.admin("PUT", "/v1/admin/trunks/mapped", `{"sources":["::ffff:192.0.2.0/95"]}`).refused(400, "invalid_field", "sources")
	h.admin("PUT", "/v1/admin/trunks/mapped", `{"sources":["::ffff:0.0.0.0/0"]}`).refused(400, "invalid_field", "sources")
}
