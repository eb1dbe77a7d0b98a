package api_test

import (
	"slices"
	"strings"
	"testing"
)

func TestAPartyWhoMayNotBeRungIsRefusedOnItsField(t *testing.T) {
	h := newHarness(t)
	const abroad = "+12125550100"
	id := h.create(vn1, alice, bob)
	old := h.own("POST", "/greenvn", body(vn2, alice, abroad)).want(201).text("greenvn_id")
	h.own("PUT", "/settings", `{"allowed_prefixes":["+91","+12125550100"]}`).want(200)
	h.admin("PUT", "/v1/admin/tenants/acme", `{"permitted_prefixes":["+91"]}`).want(200) // which the tenant cannot lift
	for _, c := range []struct{ method, path, body, field string }{
		{"POST", "/greenvn", body("auto", alice, abroad), "to"},
		{"POST", "/greenvn", body("auto", abroad, bob), "from"},
		{"PUT", "/greenvn/" + id + "/call-party", `{"to":["` + abroad + `"]}`, "to"},
		{"PUT", "/settings", `{"stranger_policy":{"action":"forward","forward_to":"` + abroad + `"}}`, "stranger_policy.forward_to"},
	} {
		a := h.own(c.method, c.path, c.body)
		a.refused(400, "number_not_allowed", c.field)
		if strings.Contains(a.body, abroad) {
			t.Errorf("the refusal tells the number: %s", a.body)
		}
	}
	h.own("PUT", "/greenvn/"+old+"/call-party", `{"from":["`+bob+`"]}`).want(200) // of who stands there already nothing is asked
	h.own("PUT", "/settings", `{"permitted_prefixes":[]}`).want(200)
	h.own("POST", "/greenvn", body("auto", alice, abroad)).refused(400, "number_not_allowed", "to")
	if got := h.admin("GET", "/v1/admin/tenants/acme", "").want(200).body; !strings.Contains(got, `"permitted_prefixes":["+91"]`) {
		t.Error(got)
	}
}

func TestGuardsAreRefusedByName(t *testing.T) {
	h := newHarness(t)
	var cases []refusal
	for _, c := range []struct{ body, field string }{
		{`{"allowed_prefixes":["91"]}`, "allowed_prefixes"},
		{`{"allowed_prefixes":"+91"}`, "allowed_prefixes"},
		{`{"allowed_prefixes":null}`, "allowed_prefixes"},
		{`{"max_allocation_calls_per_day":-1}`, "max_allocation_calls_per_day"},
		{`{"max_allocation_minutes_per_day":144001}`, "max_allocation_minutes_per_day"},
		{`{"max_allocation_minutes_per_day":9223372036854775807}`, "max_allocation_minutes_per_day"},
		{`{"velocity_alarm":{"minutes":0}}`, "velocity_alarm.minutes"},
		{`{"velocity_alarm":{"minutes":1441}}`, "velocity_alarm.minutes"},
		{`{"velocity_alarm":{"caller_calls":-1}}`, "velocity_alarm.caller_calls"},
		{`{"velocity_alarm":{"block":"yes"}}`, "velocity_alarm.block"},
		{`{"velocity_alarm":[]}`, "velocity_alarm"},
	} {
		cases = append(cases, refusal{method: "PUT", path: "/settings", body: c.body, status: 400, code: "invalid_field", field: c.field})
	}
	h.refuseAll(t, cases)
	h.admin("PUT", "/v1/admin/tenants/acme", `{"permitted_prefixes":["+"]}`).refused(400, "invalid_field", "permitted_prefixes")
}

func TestBlockedCallersAreKeptAsAList(t *testing.T) {
	h := newHarness(t)
	h.at("10:30:00")
	h.own("POST", "/blocked-callers", `{"numbers":["`+bob+`","+91 99000 00001"],"note":"spam"}`, key("k")).want(201).exactly(
		`{"response":{"items":[{"number":"` + bob + `","note":"spam","created_at":"2024-06-15T10:30:00+05:30"},{"number":"+919900000001","note":"spam","created_at":"2024-06-15T10:30:00+05:30"}],"next_cursor":""}}`)
	h.pass(1e9)
	h.own("POST", "/blocked-callers", `{"numbers":["`+bob+`"]}`).want(201)
	numbers, pages := h.walk("/blocked-callers", "number", 1)
	if want := []string{bob, "+919900000001"}; !slices.Contains(numbers, bob) || len(numbers) != len(want) || pages != 2 || !slices.IsSorted(numbers) {
		t.Errorf("%v on %d pages", numbers, pages)
	}
	h.own("DELETE", "/blocked-callers/"+bob, "").want(200)
	h.own("DELETE", "/blocked-callers/"+bob, "").refused(404, "not_found", "")
	h.own("DELETE", "/blocked-callers/x", "").refused(400, "invalid_number", "number")
	sid, token := h.tenant("other")
	other := as(sid, token)
	h.do("DELETE", "/v1/tenants/other/blocked-callers/+919900000001", "", other).refused(404, "not_found", "")
	h.do("GET", "/v1/tenants/acme/blocked-callers", "", other).refused(404, "not_found", "")
	var cases []refusal
	for _, c := range []struct{ body, code, field string }{
		{`{}`, "missing_field", "numbers"}, {`{"numbers":[]}`, "invalid_field", "numbers"}, {`{"numbers":["1"]}`, "invalid_number", "numbers"},
		{`{"numbers":["` + bob + `"],"note":"` + strings.Repeat("x", 65) + `"}`, "invalid_field", "note"},
	} {
		cases = append(cases, refusal{method: "POST", path: "/blocked-callers", body: c.body, status: 400, code: c.code, field: c.field})
	}
	h.refuseAll(t, cases)
}
