package api_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
)

var pins = regexp.MustCompile(`"pin":"[0-9]{4,8}"`)

// pinless is exactly for answers that show a PIN, which is another one each time.
func (a *answer) pinless(want string) *answer {
	a.Helper()
	shown := *a
	shown.body = pins.ReplaceAllString(a.body, `"pin":"4821"`)
	shown.exactly(want)
	return a
}

// pin makes a GreenPin allocation and gives its id and its PIN.
func (h *harness) pin(vn, from, to string) (id, pin string) {
	h.Helper()
	a := h.own("POST", "/greenpin", body(vn, from, to)).want(201)
	return a.text("greenpin_id"), a.text("pin")
}

func TestAPINAllocationLivesAsPublished(t *testing.T) {
	h := newHarness(t)
	made := h.own("POST", "/greenpin", `{"caller_id_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],
		"duration":3600,"max_pin_attempts":5,"record":true,"custom_field":"order_id=ORD-20240615"}`).want(201).
		pinless(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"pin":"4821","status":"active","max_pin_attempts":5,"record":true,"custom_field":"order_id=ORD-20240615","created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-15T11:30:00+05:30"}}`)
	id, pin := made.text("greenpin_id"), made.text("pin")
	if p, ok := masking.ParsePIN(pin); !ok || len(pin) != 4 || p.Trivial() {
		t.Errorf("the PIN is %q", pin)
	}
	got := h.own("GET", "/greenpin/"+id, "").want(200).
		pinless(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"pin":"4821","status":"active","max_pin_attempts":5,"record":true,"custom_field":"order_id=ORD-20240615","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-15T11:30:00+05:30"}}`)
	if got.text("pin") != pin {
		t.Errorf("get shows PIN %s, create gave %s", got.text("pin"), pin)
	}

	h.at("11:00:00")
	h.own("PUT", "/greenpin/"+id, `{"from":["+919911000001"],"to":["+918822000002","+918822000003"],"duration":300,"max_pin_attempts":10,"record":false,"custom_field":""}`).want(200).
		exactly(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919911000001"],"to":["+918822000002","+918822000003"],"status":"active","max_pin_attempts":10,"record":false,"custom_field":"","updated_at":"2024-06-15T11:00:00+05:30","expires_at":"2024-06-15T11:05:00+05:30"}}`)

	h.at("11:01:00")
	h.own("DELETE", "/greenpin/"+id, "").want(200).
		exactly(`{"response":{"greenpin_id":"gp_abc123","status":"deleted","deleted_at":"2024-06-15T11:01:00+05:30"}}`)
	h.own("DELETE", "/greenpin/"+id, "").refused(409, "allocation_not_active", "")
	h.own("DELETE", "/greenpin/"+id+"?terminate_calls=true", "").refused(409, "allocation_not_active", "")
	h.own("PUT", "/greenpin/"+id, `{"record":true}`).refused(409, "allocation_not_active", "")
	h.own("POST", "/greenpin/"+id+"/unlock", "").refused(409, "allocation_not_active", "")
	h.own("GET", "/greenpin/"+id, "").want(200).
		pinless(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919911000001"],"to":["+918822000002","+918822000003"],"pin":"4821","status":"deleted","max_pin_attempts":10,"record":false,"custom_field":"","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-15T11:05:00+05:30","deleted_at":"2024-06-15T11:01:00+05:30","end_reason":"api"}}`)
	if got := h.ended.all(); len(got) != 1 || got[0] != id+" false" {
		t.Errorf("the voice plane was told %v", got)
	}
	h.tellsOf(id, "greenpin.created", "greenpin.updated", "greenpin.deallocated api")
}

// tellsOf fails the test unless these are the events of an allocation, each with
// its reason.
func (h *harness) tellsOf(id string, want ...string) {
	h.Helper()
	var got []string
	for _, e := range h.own("GET", "/events?limit=100", "").page().Response.Items {
		if e["greenpin_id"] != id {
			continue
		}
		data, _ := e["data"].(map[string]any)
		if data["greenpin_id"] != id || data["vn"] == nil || data["greenvn_id"] != nil || data["greenvn"] != nil || e["greenvn_id"] != nil {
			h.Errorf("an event of a PIN allocation holds %v", e)
		}
		reason, _ := data["reason"].(string)
		got = append(got, strings.TrimSpace(e["type"].(string)+" "+reason))
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		h.Errorf("events %v, want %v", got, want)
	}
}

func TestTheOtherSideOfAPINMayBeNamedLater(t *testing.T) {
	h := newHarness(t)
	made := h.own("POST", "/greenpin", `{"caller_id_number":"`+vn1+`","from":["`+alice+`"]}`).want(201).
		pinless(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":[],"pin":"4821","status":"active","max_pin_attempts":3,"record":false,"custom_field":"","created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)
	id := made.text("greenpin_id")
	h.own("PUT", "/greenpin/"+id, `{"to":["`+bob+`"]}`).want(200)
	if got := h.own("GET", "/greenpin/"+id, ""); !strings.Contains(got.body, `"to":["`+bob+`"]`) || got.text("pin") != made.text("pin") {
		t.Errorf("after naming the other side: %s", got.body)
	}
}

func TestAnExpiredPINAllocationReadsExpiredAndCanBeDeleted(t *testing.T) {
	for _, swept := range []bool{false, true} {
		t.Run(fmt.Sprintf("swept %v", swept), func(t *testing.T) {
			h := newHarness(t)
			id, _ := h.pin(vn1, alice, bob)
			h.set(publishedTime.Add(24*time.Hour - time.Millisecond))
			if s := h.own("GET", "/greenpin/"+id, "").text("status"); s != "active" {
				t.Errorf("a millisecond before its end: %s", s)
			}
			h.pass(time.Millisecond)
			if swept {
				if n, err := h.plane.Allocations.Sweep(t.Context(), 10); err != nil || n != 1 {
					t.Fatalf("swept %d, %v", n, err)
				}
			}
			h.own("GET", "/greenpin/"+id, "").want(200).
				pinless(`{"response":{"greenpin_id":"gp_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"pin":"4821","status":"expired","max_pin_attempts":3,"record":false,"custom_field":"","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30","end_reason":"expired"}}`)
			h.own("PUT", "/greenpin/"+id, `{"duration":600}`).refused(409, "allocation_not_active", "")
			h.own("POST", "/greenpin/"+id+"/unlock", `{}`).refused(409, "allocation_not_active", "")
			h.create(vn1, carol, dave) // the number is free at once

			h.pass(time.Minute)
			h.own("DELETE", "/greenpin/"+id, "").want(200).
				exactly(`{"response":{"greenpin_id":"gp_abc123","status":"deleted","deleted_at":"2024-06-16T10:31:00+05:30"}}`)
			h.own("DELETE", "/greenpin/"+id, "").refused(409, "allocation_not_active", "")
			if n, err := h.plane.Allocations.Sweep(t.Context(), 10); err != nil || n != 0 {
				t.Errorf("swept %d once deleted, %v", n, err)
			}
			reason := "api"
			if swept {
				reason = "expired" // told when it was swept, and not once more
			}
			h.tellsOf(id, "greenpin.created", "greenpin.deallocated "+reason)
			if n := activeOn(h, vn1); n != 1 {
				t.Errorf("the number carries %v allocations by its count, want 1", n)
			}
		})
	}
}

func activeOn(h *harness, n string) float64 {
	load, _ := h.admin("GET", "/v1/admin/tenants/acme/numbers/"+n, "").want(200).fields["active_allocations"].(float64)
	return load
}

func TestPINAllocationsAreRefusedByName(t *testing.T) {
	h := newHarness(t)
	h.create(vn1, carol, dave)
	h.create(shared2, carol, dave)
	id, _ := h.pin(vn2, carol, dave)
	create := func(field, value string) string {
		fields := map[string]string{"caller_id_number": `"` + vn2 + `"`, "from": `["` + alice + `"]`, "to": `["` + bob + `"]`}
		fields[field] = value
		var parts []string
		for name, v := range fields {
			if v != "-" {
				parts = append(parts, fmt.Sprintf("%q:%s", name, v))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	many := `["+919800000001","+919800000002","+919800000003","+919800000004","+919800000005","+919800000006",` +
		`"+919800000007","+919800000008","+919800000009","+919800000010","+919800000011"]`
	var cases []refusal
	for _, c := range []struct{ field, value, code, blamed string }{
		{"caller_id_number", "-", "missing_field", "caller_id_number"},
		{"caller_id_number", `"auto"`, "invalid_number", "caller_id_number"},
		{"caller_id_number", `"+919999999999"`, "virtual_number_not_in_pool", "caller_id_number"},
		{"from", "-", "missing_field", "from"},
		{"from", "null", "invalid_field", "from"},
		{"from", "[]", "invalid_field", "from"},
		{"from", many, "invalid_field", "from"},
		{"from", `["112"]`, "emergency_number", "from"},
		{"from", `["` + vn1 + `"]`, "party_is_virtual_number", "from"},
		{"to", "null", "invalid_field", "to"},
		{"to", "[]", "invalid_field", "to"},
		{"to", `"` + bob + `"`, "invalid_field", "to"},
		{"to", `["` + alice + `"]`, "same_party_on_both_sides", "to"},
		{"to", `["` + vn1 + `"]`, "party_is_virtual_number", "to"},
		{"to", many, "invalid_field", "to"},
		{"duration", "299", "invalid_field", "duration"},
		{"duration", "0", "invalid_field", "duration"},
		{"duration", "14688001", "invalid_field", "duration"},
		{"duration", `"3600"`, "invalid_field", "duration"},
		{"max_pin_attempts", "0", "invalid_field", "max_pin_attempts"},
		{"max_pin_attempts", "11", "invalid_field", "max_pin_attempts"},
		{"max_pin_attempts", "-3", "invalid_field", "max_pin_attempts"},
		{"max_pin_attempts", "9223372036854775807", "invalid_field", "max_pin_attempts"},
		{"max_pin_attempts", "2.5", "invalid_field", "max_pin_attempts"},
		{"record", "1", "invalid_field", "record"},
		{"custom_field", `"` + strings.Repeat("é", 257) + `"`, "invalid_field", "custom_field"},
	} {
		cases = append(cases, refusal{name: "create " + c.field + " " + c.value, method: "POST", path: "/greenpin", body: create(c.field, c.value),
			status: 400, code: c.code, field: c.blamed})
		if c.field == "caller_id_number" || c.value == "-" || strings.Contains(c.value, alice) {
			continue
		}
		cases = append(cases, refusal{name: "update " + c.field + " " + c.value, method: "PUT", path: "/greenpin/" + id,
			body: fmt.Sprintf("{%q:%s}", c.field, c.value), status: 400, code: c.code, field: c.blamed})
	}
	one := "/greenpin/" + id
	cases = append(cases,
		refusal{name: "an exclusive number with a GreenVN", method: "POST", path: "/greenpin", body: create("caller_id_number", `"`+vn1+`"`), status: 409, code: "virtual_number_in_use", field: "caller_id_number"},
		refusal{name: "a GreenVN on an exclusive number with PINs", method: "POST", path: "/greenvn", body: body(vn2, alice, bob), status: 409, code: "virtual_number_in_use", field: "caller_id_number"},
		refusal{name: "nothing given", method: "PUT", path: one, body: `{}`, status: 400, code: "missing_field"},
		refusal{name: "nothing known given", method: "PUT", path: one, body: `{"pin":"4821","caller_id_number":"` + vn1 + `"}`, status: 400, code: "missing_field"},
		refusal{name: "both sides", method: "PUT", path: one, body: `{"to":["` + carol + `"]}`, status: 400, code: "same_party_on_both_sides", field: "to"},
		refusal{name: "no body", method: "POST", path: "/greenpin", status: 400, code: "invalid_body"},
		refusal{name: "a list", method: "POST", path: "/greenpin", body: `[]`, status: 400, code: "invalid_body"},
		refusal{name: "an unlocked nobody", method: "POST", path: one + "/unlock", body: `{"caller":"9900"}`, status: 400, code: "invalid_number", field: "caller"},
		refusal{name: "an unlocked null", method: "POST", path: one + "/unlock", body: `{"caller":null}`, status: 400, code: "invalid_field", field: "caller"},
		refusal{name: "unlock with no JSON", method: "POST", path: one + "/unlock", body: `x`, status: 400, code: "invalid_body"},
		refusal{name: "terminate", method: "DELETE", path: one + "?terminate_calls=perhaps", status: 400, code: "invalid_field", field: "terminate_calls"},
		refusal{name: "status", method: "GET", path: "/greenpin?status=ended", status: 400, code: "invalid_field", field: "status"},
		refusal{name: "cursor of the other API", method: "GET", path: "/greenpin?cursor=Z3ZuX2E", status: 400, code: "invalid_field", field: "cursor"},
		refusal{name: "calls of two", method: "GET", path: "/calls?greenvn_id=gvn_a&greenpin_id=gp_a", status: 400, code: "invalid_field", field: "greenpin_id"},
		refusal{name: "calls of nothing", method: "GET", path: "/calls?greenpin_id=gvn_a", status: 400, code: "invalid_field", field: "greenpin_id"},
	)
	before := h.own("GET", one, "").body
	h.refuseAll(t, cases)
	if after := h.own("GET", one, "").body; after != before {
		t.Errorf("a refused update changed %s to %s", before, after)
	}
	h.own("POST", "/greenpin", body(shared2, carol, dave)).want(201) // a shared number carries both
	h.own("POST", "/greenpin", body(vn2, carol, dave)).want(201)     // an exclusive one many PINs, of the same people too
	h.admin("PUT", "/v1/admin/tenants/acme", `{"max_duration":3600}`).want(200)
	h.own("POST", "/greenpin", body(vn2, alice, bob)).refused(400, "duration_too_long", "duration")
	h.drain(true)
	h.own("POST", "/greenpin", body(vn2, alice, bob)).refused(503, "temporarily_unavailable", "")
	h.own("PUT", one, `{"record":true}`).want(200)
}

func TestTheTwoAPIsKnowNothingOfEachOther(t *testing.T) {
	h := newHarness(t)
	vn := h.create(shared1, alice, bob)
	pin, _ := h.pin(shared1, alice, bob)
	sid, token := h.tenant("other")
	same := []option{header("X-Request-Id", "same")}
	reference := h.own("GET", "/greenpin/gp_abc123", "", same...).refused(404, "not_found", "").body
	check := func(a *answer) {
		t.Helper()
		if a.want(404); a.body != reference {
			t.Errorf("%s answers %s, an unknown id %s", a.request, a.body, reference)
		}
	}
	for _, id := range []string{vn, "gp_", "x", "gp_%00", strings.ToUpper(pin)} {
		check(h.own("GET", "/greenpin/"+id, "", same...))
		check(h.own("PUT", "/greenpin/"+id, `{"record":true}`, same...))
		check(h.own("DELETE", "/greenpin/"+id, "", same...))
		check(h.own("POST", "/greenpin/"+id+"/unlock", "", same...))
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/" + pin, ""}, {"DELETE", "/" + pin, ""}, {"PATCH", "/" + pin, `{"record":true}`},
		{"PUT", "/" + pin + "/call-party", `{"to":["` + carol + `"]}`}, {"PUT", "/" + pin + "/vn", `{"caller_id_number":"` + shared2 + `"}`},
	} {
		check(h.own(r.method, "/greenvn"+r.path, r.body, same...))
	}
	foreign := append(same, as(sid, token))
	for _, path := range []string{"/v1/tenants/acme", "/v1/tenants/other"} {
		check(h.do("GET", path+"/greenpin/"+pin, "", foreign...))
		check(h.do("PUT", path+"/greenpin/"+pin, `{"record":true}`, foreign...))
		check(h.do("DELETE", path+"/greenpin/"+pin, "", foreign...))
		check(h.do("POST", path+"/greenpin/"+pin+"/unlock", "", foreign...))
	}
	for list, want := range map[string]string{"/greenvn": vn, "/greenpin": pin} {
		if got := h.own("GET", list, "").page().Response.Items; len(got) != 1 || got[0][list[1:]+"_id"] != want {
			t.Errorf("%s lists %v", list, got)
		}
	}
	if got := h.own("GET", "/greenpin", "").body; strings.Contains(got, `"pin"`) {
		t.Errorf("a list shows PINs: %s", got)
	}
}

func TestTheListOfPINAllocationsNarrowsAndIsReadPageByPage(t *testing.T) {
	h := newHarness(t)
	var ids []string
	for i := range 5 {
		id, _ := h.pin(vn1, party(2*i), party(2*i+1))
		ids = append([]string{id}, ids...)
		h.pass(time.Millisecond)
	}
	h.own("DELETE", "/greenpin/"+ids[0], "").want(200)
	h.own("PUT", "/greenpin/"+ids[1], `{"duration":300}`).want(200)
	h.pass(5 * time.Minute)
	for query, want := range map[string][]string{"": ids, "?status=active": ids[2:], "?status=expired": ids[1:2], "?status=deleted": ids[:1],
		"?party=%2B" + party(4)[1:]: ids[2:3], "?virtual_number=%2B" + vn2[1:]: nil} {
		if got, _ := h.walk("/greenpin"+query, "greenpin_id", 2); strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s gives %v, want %v", query, got, want)
		}
	}
}

func TestManyUpdatesAreEachJudgedForThemselves(t *testing.T) {
	h := newHarness(t)
	a, _ := h.pin(vn1, alice, bob)
	b, _ := h.pin(vn1, carol, dave)
	gone, _ := h.pin(vn1, carol, dave)
	h.own("DELETE", "/greenpin/"+gone, "").want(200)
	vn := h.create(vn2, alice, bob)
	got := h.own("PUT", "/greenpin", `[
		{"greenpin_id":"`+a+`","custom_field":"first","record":true},
		{"greenpin_id":"`+b+`","custom_field":"lost","to":["112"]},
		{"greenpin_id":"`+gone+`","record":true},
		{"greenpin_id":"`+vn+`","record":true},
		{"greenpin_id":"gp_unknown","record":true},
		{"record":true},
		{"greenpin_id":7},
		7,
		{"greenpin_id":"`+b+`"},
		{"greenpin_id":"`+b+`","custom_field":"lost","to":["`+vn1+`"]},
		{"greenpin_id":"`+a+`","custom_field":"second","to":["`+carol+`"]},
		{"greenpin_id":"`+a+`","duration":60}
	]`).want(200)
	var out struct {
		Response struct {
			Results []struct {
				GreenPinID string `json:"greenpin_id"`
				Status     string
				Allocation map[string]any
				Error      struct{ Code, Field, Message string }
			}
		}
	}
	if err := json.Unmarshal([]byte(got.body), &out); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, r := range out.Response.Results {
		told = append(told, strings.Join([]string{r.GreenPinID, r.Status, r.Error.Code, r.Error.Field}, " "))
		if (r.Allocation != nil) != (r.Status == "updated") || (r.Error.Message != "") != (r.Status == "failed") {
			t.Errorf("a result that is neither: %+v", r)
		}
	}
	want := []string{a + " updated  ", b + " failed emergency_number to", gone + " failed allocation_not_active ", vn + " failed not_found ",
		"gp_unknown failed not_found ", " failed missing_field greenpin_id", " failed invalid_field greenpin_id", " failed invalid_field ",
		b + " failed missing_field ", b + " failed party_is_virtual_number to", a + " updated  ", a + " failed invalid_field duration"}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	first := out.Response.Results[0].Allocation
	if first["custom_field"] != "first" || first["pin"] != nil || first["updated_at"] == nil {
		t.Errorf("the first result holds %v", first)
	}
	if now := h.own("GET", "/greenpin/"+a, ""); now.text("custom_field") != "second" || now.fields["record"] != true || !strings.Contains(now.body, `"to":["`+carol+`"]`) {
		t.Errorf("after both updates: %s", now.body)
	}
	if now := h.own("GET", "/greenpin/"+b, ""); now.text("custom_field") != "" {
		t.Errorf("a refused update left %s", now.body)
	}
	h.tellsOf(a, "greenpin.created", "greenpin.updated", "greenpin.updated")
	h.tellsOf(b, "greenpin.created")

	item := `{"greenpin_id":"` + a + `","record":false}`
	var cases []refusal
	for _, wrong := range []string{`[]`, `{}`, item, `null`, `"x"`, `[` + item, `[` + strings.Repeat(item+",", 100) + item + `]`, `[` + item + `]x`, ``,
		`[` + strings.Repeat(" ", 65536) + item + `]`} {
		cases = append(cases, refusal{method: "PUT", path: "/greenpin", body: wrong, status: 400, code: "invalid_body"})
	}
	h.refuseAll(t, cases)
	full := h.own("PUT", "/greenpin", `[`+strings.Repeat(item+",", 99)+item+`]`).want(200)
	if n := strings.Count(full.body, `"status":"updated"`); n != 100 {
		t.Errorf("%d of a hundred updates were applied", n)
	}
}

func TestOneKeyCoversManyUpdates(t *testing.T) {
	h := newHarness(t)
	a, _ := h.pin(vn1, alice, bob)
	b, _ := h.pin(vn1, carol, dave)
	update := `[{"greenpin_id":"` + a + `","custom_field":"x"},{"greenpin_id":"` + b + `","duration":1}]`
	first := h.own("PUT", "/greenpin", update, key("k")).want(200)
	h.own("PUT", "/greenpin/"+a, `{"custom_field":"y"}`).want(200)
	h.pass(time.Minute)
	if again := h.own("PUT", "/greenpin", update, key("k")).want(200); again.body != first.body {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	if got := h.own("GET", "/greenpin/"+a, "").text("custom_field"); got != "y" {
		t.Errorf("the repeat changed it to %q", got)
	}
	h.own("PUT", "/greenpin", `[]`, key("k")).refused(400, "invalid_body", "")
	h.own("PUT", "/greenpin", update+" ", key("k")).refused(409, "idempotency_key_reused", "")
}

func TestARepeatedCreateGivesTheSamePIN(t *testing.T) {
	h := newHarness(t)
	first := h.own("POST", "/greenpin", body(vn1, alice, bob), key("k")).want(201)
	if again := h.own("POST", "/greenpin", body(vn1, alice, bob), key("k")).want(201); again.body != first.body {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	id := first.text("greenpin_id")
	gone := h.own("DELETE", "/greenpin/"+id, "", key("d")).want(200)
	if again := h.own("DELETE", "/greenpin/"+id, "", key("d")).want(200); again.body != gone.body {
		t.Errorf("again %s, first %s", again.body, gone.body)
	}
	h.own("DELETE", "/greenpin/"+id, "", key("e")).refused(409, "allocation_not_active", "")
	if got := h.own("GET", "/greenpin", "").page().Response.Items; len(got) != 1 {
		t.Errorf("%d allocations", len(got))
	}
}

func TestFiftyPINsAtOnceOnOneNumberAreFifty(t *testing.T) {
	h := newHarness(t)
	answers := h.gather(50, func(i int) (*answer, error) {
		return h.try("POST", "/v1/tenants/acme/greenpin", body(vn1, alice, bob), as(h.sid, h.token))
	})
	seen := map[string]bool{}
	for _, a := range answers {
		pin, ok := masking.ParsePIN(a.want(201).text("pin"))
		if !ok || pin.Trivial() || len(pin) != 4 || seen[pin.Reveal()] {
			t.Errorf("%q was given", a.text("pin"))
		}
		seen[pin.Reveal()] = true
	}
	if got := h.admin("GET", "/v1/admin/tenants/acme/numbers/"+vn1, "").want(200).fields["pins"]; got != 50.0 {
		t.Errorf("the number has %v PINs by its count", got)
	}
	if got := h.own("GET", "/numbers", "").body; strings.Count(got, `"pins":`) != 1 || !strings.Contains(got, `"pins":50`) {
		t.Errorf("the list has other PINs: %s", got)
	}
}

func TestOfAPINAndAGreenVNAtOnceOneGetsTheExclusiveNumber(t *testing.T) {
	h := newHarness(t)
	answers := h.gather(40, func(i int) (*answer, error) {
		return h.try("POST", "/v1/tenants/acme/"+[]string{"greenpin", "greenvn"}[i%2], body(vn1, party(2*i), party(2*i+1)), as(h.sid, h.token))
	})
	made := map[string]int{}
	for _, a := range answers {
		switch {
		case a.status == 201 && a.text("greenpin_id") != "":
			made["pins"]++
		case a.status == 201:
			made["numbers"]++
		default:
			a.refused(409, "virtual_number_in_use", "caller_id_number")
		}
	}
	if !(made["pins"] == 20 && made["numbers"] == 0) && !(made["pins"] == 0 && made["numbers"] == 1) {
		t.Errorf("an exclusive number carries %v", made)
	}
}

func TestNoPINIsInTheLogOrInEvents(t *testing.T) {
	h := newHarness(t)
	// Long ones, so that no time or identifier holds one by chance.
	h.own("PUT", "/settings", `{"pin_length":8,"pin_fallback":true}`).want(200)
	var secret []string
	note := func(a *answer) *answer {
		for _, m := range regexp.MustCompile(`"(?:pin|from|to)":"([0-9]{8})"`).FindAllStringSubmatch(a.body, -1) {
			secret = append(secret, m[1])
		}
		return a
	}
	made := note(h.own("POST", "/greenpin", body(vn1, alice, bob), key("k")).want(201))
	id, pin := made.text("greenpin_id"), made.text("pin")
	note(h.own("POST", "/greenvn", body(shared1, alice, bob)).want(201))
	h.own("GET", "/greenpin/"+id, "").want(200)
	h.own("PUT", "/greenpin/"+id, `{"record":true,"pin":"`+pin+`"}`).want(200)
	h.own("GET", "/greenpin/"+pin, "").want(404)
	h.own("POST", "/greenpin", `{"caller_id_number":"`+pin+`","from":["`+pin+`"]}`).want(400)
	h.own("DELETE", "/greenpin/"+id, "").want(200)
	if len(secret) != 3 {
		t.Fatalf("the answers showed PINs %v, want three", secret)
	}
	events := h.own("GET", "/events?limit=100", "").want(200).body
	for _, s := range secret {
		if strings.Contains(h.logs.String(), s) {
			t.Errorf("the log holds a PIN:\n%s", h.logs)
		}
		if strings.Contains(events, s) {
			t.Errorf("an event holds a PIN:\n%s", events)
		}
	}
}
