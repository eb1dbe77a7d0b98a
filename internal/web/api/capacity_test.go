package api_test

import (
	"strings"
	"testing"
	"time"
)

func TestATenantSeesHowFullHisPoolIs(t *testing.T) {
	h := newHarness(t)
	before := h.own("GET", "/numbers/capacity", "").want(200)
	if strings.Contains(before.body, "full_at") || strings.Contains(before.body, "needed\":{") || !strings.Contains(before.body, `"busy":0,"allocations_per_day":0,"expected_busy":0,"more_needed":0`) {
		t.Errorf("an idle pool: %s", before.body)
	}
	numbers := before.fields["exclusive"].(map[string]any)["numbers"].(float64)
	for i := range int(numbers) { // each for a day: one more of them in a day than there is room for
		h.pass(time.Minute)
		person := "+9199000001" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		h.own("POST", "/greenvn", `{"caller_id_number":"auto","from":["`+person+`"],"to":["`+bob+`"],"preferences":{"strictness":"strict"},"duration":172800}`).want(201)
	}
	h.pin(shared1, alice, bob)
	got := h.own("GET", "/numbers/capacity?sessions=100&most_from=5&most_to=3", "").want(200)
	if !strings.Contains(got.body, `"needed":{"exclusive":100,"shared":7}`) || !strings.Contains(got.body, `"pins":1`) {
		t.Errorf("%s", got.body)
	}
	h.own("GET", "/numbers/capacity?sessions=-1", "").refused(400, "invalid_field", "sessions")
	h.own("GET", "/numbers/capacity?sessions=1&most_to=0", "").refused(400, "invalid_field", "most_to")
	sid, token := h.tenant("other")
	h.do("GET", "/v1/tenants/acme/numbers/capacity", "", as(sid, token)).refused(404, "not_found", "")
	if empty := h.do("GET", "/v1/tenants/other/numbers/capacity", "", as(sid, token)).want(200); !strings.Contains(empty.body, `"stock":[]`) {
		t.Errorf("%s", empty.body)
	}
}

func TestADryRunNamesTheNumberThatAutoTakes(t *testing.T) {
	h := newHarness(t)
	for i := range 40 {
		ask := `"from":["` + alice + `"],"to":["` + bob + `"]`
		foreseen := h.own("POST", "/numbers/capacity/dry-run", `{`+ask+`}`).want(200)
		made := h.own("POST", "/greenvn", `{"caller_id_number":"auto",`+ask+`}`)
		if foreseen.fields["available"] == false {
			made.refused(409, "no_number_available", "")
			if i == 0 || foreseen.text("retry_at") == "" {
				t.Errorf("after %d: %s", i, foreseen.body)
			}
			return
		}
		if got := made.want(201).text("virtual_number"); got != foreseen.text("virtual_number") {
			t.Fatalf("foreseen %s, taken %s", foreseen.body, got)
		}
	}
	t.Error("the pool never ran out")
}

func TestADryRunRefusesWhatCreateRefuses(t *testing.T) {
	h := newHarness(t)
	var cases []refusal
	for _, c := range []struct{ body, code, field string }{
		{`{"from":["` + alice + `"]}`, "missing_field", "to"},
		{`{"from":["` + alice + `"],"to":["` + alice + `"]}`, "same_party_on_both_sides", "to"},
		{`{"from":["` + alice + `"],"to":["` + vn1 + `"]}`, "party_is_virtual_number", "to"},
		{`{"from":["112"],"to":["` + alice + `"]}`, "emergency_number", "from"},
		{`{"from":["` + alice + `"],"to":["` + bob + `"],"usage":"x"}`, "invalid_field", "usage"},
	} {
		cases = append(cases, refusal{method: "POST", path: "/numbers/capacity/dry-run", body: c.body, status: 400, code: c.code, field: c.field})
	}
	h.refuseAll(t, cases)
}
