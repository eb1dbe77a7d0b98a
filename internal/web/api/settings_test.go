package api_test

import (
	"context"
	"strings"
	"testing"

	"tandem/internal/masking"
)

// take gives an allocation another PIN on its number, a shared one.
func (h *harness) take(id masking.AllocationID, pin masking.PIN) {
	h.Helper()
	err := write(h.store.Update, func(ctx context.Context, tx callWriter) error {
		a, err := tx.Allocation(ctx, "acme", id)
		if err != nil {
			return err
		}
		a.PIN = pin
		if err := tx.UpdateAllocation(ctx, a); err != nil {
			return err
		}
		return tx.Hold(ctx, a, masking.Shared, h.clock())
	})
	if err != nil {
		h.Fatal(err)
	}
}

func TestATenantReadsAndChangesHisSettings(t *testing.T) {
	h := newHarness(t)
	const fresh = `{"response":{"timezone":"Asia/Kolkata","country":"IN","language":"en","max_duration":14688000,"ring_seconds":20,"ring_total_seconds":60,"ring_strategy":"sequential","max_call_seconds":14400,"end_calls_with_allocation":false,"max_allocation_calls":0,"max_caller_calls_per_minute":0,"pin_length":4,"pin_fallback":false,"stranger_policy":{"action":"announce"},"recording_announcement":false,"recording_retention_days":0,"retention_days":0,"allowed_prefixes":[],"max_allocation_calls_per_day":0,"max_allocation_minutes_per_day":0,"velocity_alarm":{"minutes":10,"caller_calls":0,"allocation_calls":0,"tenant_calls":0,"block":false},"stranger_webhook_secret":"whsec_acme"}}`
	h.own("GET", "/settings", "").want(200).exactly(fresh)
	h.own("PUT", "/settings", `{}`).want(200).exactly(fresh) // what is omitted keeps its value
	const changed = `{"response":{"timezone":"Europe/Berlin","country":"DE","language":"hi","max_duration":3600,"ring_seconds":30,"ring_total_seconds":90,"ring_strategy":"round_robin","max_call_seconds":60,"end_calls_with_allocation":true,"max_allocation_calls":2,"max_caller_calls_per_minute":6,"pin_length":6,"pin_fallback":true,"stranger_policy":{"action":"forward","forward_to":"+919900000001"},"recording_announcement":true,"recording_retention_days":90,"retention_days":180,"allowed_prefixes":["+49","+91"],"max_allocation_calls_per_day":40,"max_allocation_minutes_per_day":120,"velocity_alarm":{"minutes":5,"caller_calls":6,"allocation_calls":7,"tenant_calls":8,"block":true},"stranger_webhook_secret":"whsec_acme"}}`
	h.own("PUT", "/settings", `{"timezone":"Europe/Berlin","country":"DE","language":"hi","max_duration":3600,"ring_seconds":30,"ring_total_seconds":90,
		"ring_strategy":"round_robin","max_call_seconds":60,"end_calls_with_allocation":true,"max_allocation_calls":2,"max_caller_calls_per_minute":6,
		"pin_length":6,"pin_fallback":true,"stranger_policy":{"action":"forward","forward_to":"+91 99000 00001"},"recording_announcement":true,
		"recording_retention_days":90,"retention_days":180,"allowed_prefixes":["+91","+49","+91"],"max_allocation_calls_per_day":40,"max_allocation_minutes_per_day":120,
		"velocity_alarm":{"minutes":5,"caller_calls":6,"allocation_calls":7,"tenant_calls":8,"block":true},
		"stranger_webhook_secret":"mine","rate_limit":{"per_second":1},"max_calls":1,"permitted_prefixes":["+1"]}`, key("k")).want(200).exactly(changed)
	h.own("PUT", "/settings", `{"recording_announcement":true}`).want(200).exactly(changed)
	h.own("GET", "/settings", "").want(200).exactly(changed)
	if got := h.admin("GET", "/v1/admin/tenants/acme", "").body; !strings.Contains(got, `"per_second":100000`) || !strings.Contains(got, `"max_calls":0`) || !strings.Contains(got, `"permitted_prefixes":[]`) || !strings.Contains(got, `"pin_length":6`) || strings.Contains(got, "whsec") {
		t.Errorf("the operator sees %s", got)
	}
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"webhook","webhook_url":"https://acme.example/who"}}`).want(200)
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"pin"}}`).want(200)
	if got := h.own("GET", "/settings", "").body; !strings.Contains(got, `"stranger_policy":{"action":"pin"}`) {
		t.Errorf("the policy is not replaced as a whole: %s", got)
	}
	h.admin("PUT", "/v1/admin/tenants/acme", `{"pin_length":5,"language":"en"}`).want(200)
	if got := h.own("GET", "/settings", "").body; !strings.Contains(got, `"language":"en"`) || !strings.Contains(got, `"pin_length":5`) {
		t.Errorf("after the operator's change: %s", got)
	}
	made := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"other","pin_length":8,"stranger_policy":{"action":"reject"}}`).want(201)
	other := []option{as(made.text("account_sid"), made.text("token"))}
	if got := h.do("GET", "/v1/tenants/other/settings", "", other...).want(200).body; !strings.Contains(got, `"pin_length":8`) || !strings.Contains(got, `"action":"reject"`) {
		t.Errorf("a new tenant's settings: %s", got)
	}
	h.do("GET", "/v1/tenants/acme/settings", "", other...).refused(404, "not_found", "")
	h.do("PUT", "/v1/tenants/acme/settings", `{"pin_length":4}`, other...).refused(404, "not_found", "")
}

func TestSettingsAreRefusedByName(t *testing.T) {
	h := newHarness(t)
	before := h.own("GET", "/settings", "").body
	var cases []refusal
	for _, c := range []struct{ body, code, field string }{
		{`{"timezone":"Mars/Base"}`, "invalid_field", "timezone"},
		{`{"country":"in"}`, "invalid_field", "country"},
		{`{"country":"IND"}`, "invalid_field", "country"},
		{`{"language":"EN"}`, "invalid_field", "language"},
		{`{"language":"fr"}`, "invalid_field", "language"},
		{`{"language":null}`, "invalid_field", "language"},
		{`{"max_duration":0}`, "invalid_field", "max_duration"},
		{`{"ring_seconds":4}`, "invalid_field", "ring_seconds"},
		{`{"ring_seconds":61}`, "invalid_field", "ring_total_seconds"},
		{`{"ring_strategy":"loud"}`, "invalid_field", "ring_strategy"},
		{`{"ring_strategy":""}`, "invalid_field", "ring_strategy"},
		{`{"max_call_seconds":59}`, "invalid_field", "max_call_seconds"},
		{`{"max_call_seconds":86401}`, "invalid_field", "max_call_seconds"},
		{`{"end_calls_with_allocation":"yes"}`, "invalid_field", "end_calls_with_allocation"},
		{`{"max_allocation_calls":-1}`, "invalid_field", "max_allocation_calls"},
		{`{"max_caller_calls_per_minute":1000001}`, "invalid_field", "max_caller_calls_per_minute"},
		{`{"pin_length":3}`, "invalid_field", "pin_length"},
		{`{"pin_length":9}`, "invalid_field", "pin_length"},
		{`{"pin_length":"4"}`, "invalid_field", "pin_length"},
		{`{"pin_fallback":1}`, "invalid_field", "pin_fallback"},
		{`{"recording_retention_days":-1}`, "invalid_field", "recording_retention_days"},
		{`{"recording_retention_days":3651}`, "invalid_field", "recording_retention_days"},
		{`{"recording_retention_days":9223372036854775807}`, "invalid_field", "recording_retention_days"},
		{`{"retention_days":-1}`, "invalid_field", "retention_days"},
		{`{"retention_days":3651,"recording_retention_days":1}`, "invalid_field", "retention_days"},
		{`{"retention_days":90}`, "invalid_field", "recording_retention_days"},
		{`{"retention_days":90,"recording_retention_days":91}`, "invalid_field", "recording_retention_days"},
		{`{"stranger_policy":"pin"}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{}}`, "missing_field", "stranger_policy.action"},
		{`{"stranger_policy":{"action":""}}`, "invalid_field", "stranger_policy.action"},
		{`{"stranger_policy":{"action":"tenant"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"sing"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"forward"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"forward","forward_to":"9900"}}`, "invalid_number", "stranger_policy.forward_to"},
		{`{"stranger_policy":{"action":"forward","forward_to":"112"}}`, "emergency_number", "stranger_policy.forward_to"},
		{`{"stranger_policy":{"action":"forward","forward_to":"` + vn1 + `"}}`, "party_is_virtual_number", "stranger_policy.forward_to"},
		{`{"stranger_policy":{"action":"pin","forward_to":"` + alice + `"}}`, "invalid_field", "stranger_policy.forward_to"},
		{`{"stranger_policy":{"action":"webhook"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"webhook","webhook_url":"ftp://x"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"webhook","webhook_url":"https://u:p@x/"}}`, "invalid_field", "stranger_policy"},
		{`{"stranger_policy":{"action":"reject","webhook_url":"https://x/"}}`, "invalid_field", "stranger_policy.webhook_url"},
	} {
		cases = append(cases, refusal{method: "PUT", path: "/settings", body: c.body, status: 400, code: c.code, field: c.field})
	}
	h.refuseAll(t, cases)
	if after := h.own("GET", "/settings", "").body; after != before {
		t.Errorf("a refused change left %s", after)
	}
	h.admin("PUT", "/v1/admin/tenants/acme", `{"max_calls":-1}`).refused(400, "invalid_field", "max_calls")
	h.admin("PUT", "/v1/admin/tenants/acme", `{"language":"fr"}`).refused(400, "invalid_field", "language")
	h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"x","stranger_policy":{"action":"forward","forward_to":"`+vn1+`"}}`).
		refused(400, "party_is_virtual_number", "stranger_policy.forward_to")
}

// A setting that was fine when it was made must not keep others from changing.
func TestAnOldSettingIsNotJudgedAgain(t *testing.T) {
	h := newHarness(t)
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"forward","forward_to":"+914555000001"}}`).want(200)
	h.numbers("acme", "+914555000001", "shared")
	h.own("PUT", "/settings", `{"pin_length":5}`).want(200)
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"forward","forward_to":"`+vn1+`"}}`).refused(400, "party_is_virtual_number", "stranger_policy.forward_to")
}

func TestANumberTreatsStrangersInItsOwnWay(t *testing.T) {
	h := newHarness(t)
	const numbers = "/v1/admin/tenants/acme/numbers"
	made := h.admin("POST", numbers, `{"numbers":[{"number":"+914666000001","stranger_policy":{"action":"forward","forward_to":"`+alice+`"}},
		{"number":"+914666000002","stranger_policy":{"action":"tenant"}}]}`).want(201)
	policy := `"stranger_policy":{"action":"forward","forward_to":"` + alice + `"}`
	for _, a := range []*answer{made, h.admin("GET", numbers, ""), h.own("GET", "/numbers", "")} {
		if strings.Count(a.body, "stranger_policy") != 1 || !strings.Contains(a.body, policy) {
			t.Errorf("%s: %s", a.request, a.body)
		}
	}
	one := numbers + "/+914666000001"
	h.admin("PUT", one, `{"region":"KA"}`).want(200)
	if got := h.admin("GET", one, "").body; !strings.Contains(got, policy) {
		t.Errorf("a change of the region left %s", got)
	}
	for wrong, field := range map[string]string{
		`{"action":"forward","forward_to":"` + vn1 + `"}`: "stranger_policy.forward_to", `{"action":"sing"}`: "stranger_policy",
		`{"action":"tenant","forward_to":"` + alice + `"}`: "stranger_policy.forward_to", `{}`: "stranger_policy.action",
	} {
		if a := h.admin("PUT", one, `{"stranger_policy":`+wrong+`}`).want(400); a.text("field") != field {
			t.Errorf("%s blames %s", wrong, a.body)
		}
		if a := h.admin("POST", numbers, `{"numbers":[{"number":"+914666000003","stranger_policy":`+wrong+`}]}`).want(400); a.text("field") != "numbers[0]."+field {
			t.Errorf("%s blames %s", wrong, a.body)
		}
	}
	// Two numbers that come together are in the pool for each other.
	h.admin("POST", numbers, `{"numbers":[{"number":"+914666000003","stranger_policy":{"action":"forward","forward_to":"+914666000004"}},{"number":"+914666000004"}]}`).
		refused(400, "party_is_virtual_number", "numbers[0].stranger_policy.forward_to")
	h.admin("PUT", one, `{"stranger_policy":{"action":"tenant"}}`).want(200)
	if got := h.admin("GET", one, "").want(200).body; strings.Contains(got, "stranger_policy") {
		t.Errorf("back to the tenant's: %s", got)
	}
}
