package api_test

import (
	"strings"
	"testing"
	"time"
)

// The published examples with numbers filled in. Whatever else changes, these
// bytes do not.
func TestThePublishedExamplesHoldAsTheyStand(t *testing.T) {
	h := newHarness(t)
	created := h.own("POST", "/greenvn", `{
"caller_id_number": "+914000000001",
"from": ["+919900000001"],
"to": ["+918800000002"],
"duration": 86400,
"record": true,
"custom_field": "order_id=ORD-20240615"
}`).want(201).exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":true,"custom_field":"order_id=ORD-20240615","created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)
	id := created.text("greenvn_id")
	h.own("GET", "/greenvn/"+id, "", header("Content-Type", "application/json")).want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":true,"custom_field":"order_id=ORD-20240615","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)

	h.at("12:00:00")
	h.own("PUT", "/greenvn/"+id+"/call-party", `{
"from": ["+919911000001"],
"to": ["+918822000002"]
}`).want(200).exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919911000001"],"to":["+918822000002"],"status":"active","updated_at":"2024-06-15T12:00:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)

	h.at("13:00:00")
	h.own("PUT", "/greenvn/"+id+"/vn", `{
"caller_id_number": "+914000000002"
}`).want(200).exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000002","from":["+919911000001"],"to":["+918822000002"],"status":"active","updated_at":"2024-06-15T13:00:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)

	h.at("14:00:00")
	gone := h.own("DELETE", "/greenvn/"+id, "", header("Content-Type", "application/json")).want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","status":"deleted","deleted_at":"2024-06-15T14:00:00+05:30"}}`)
	h.at("15:00:00")
	if again := h.own("DELETE", "/greenvn/"+id, "").want(200); again.body != gone.body {
		t.Errorf("a second DELETE answers %s, the first answered %s", again.body, gone.body)
	}
	h.own("GET", "/greenvn/"+id, "").want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000002","from":["+919911000001"],"to":["+918822000002"],"status":"deleted","record":true,"custom_field":"order_id=ORD-20240615","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30","deleted_at":"2024-06-15T14:00:00+05:30","end_reason":"api"}}`)
}

func TestAMinimalRequestGetsThePublishedDefaults(t *testing.T) {
	h := newHarness(t)
	h.own("POST", "/greenvn", body(vn1, alice, bob)).want(201).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":false,"custom_field":"","created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)
}

func TestTheCustomFieldComesBackCharacterForCharacter(t *testing.T) {
	h := newHarness(t)
	field := "<a href=\"x\">&amp;</a> ünï ☎️ \\ \u2028\t" + strings.Repeat("é", 220)
	quoted := quote(field)
	id := h.own("POST", "/greenvn", `{"caller_id_number":"`+vn1+`","from":["`+alice+`"],"to":["`+bob+`"],"custom_field":`+quoted+`}`).
		want(201).text("greenvn_id")
	got := h.own("GET", "/greenvn/"+id, "").want(200)
	if got.text("custom_field") != field {
		t.Errorf("custom_field %q, want %q", got.text("custom_field"), field)
	}
	if !strings.Contains(got.body, `<a href=\"x\">&amp;</a>`) {
		t.Errorf("<, > and & are escaped: %s", got.body)
	}
}

func TestNumbersAreReadWithSeparatorsAndGivenBackCanonical(t *testing.T) {
	h := newHarness(t)
	a := h.own("POST", "/greenvn", body("+91 40000-00001", "+91 (99000) 00001,+919900000001", "+91.8800.000.002")).want(201)
	a.exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":false,"custom_field":"","created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30"}}`)
}

func TestAnExpiredAllocationReadsAsDeletedThoughNobodySweptIt(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	h.set(publishedTime.Add(24*time.Hour - time.Millisecond))
	if s := h.own("GET", "/greenvn/"+id, "").want(200).text("status"); s != "active" {
		t.Errorf("a millisecond before its end: %s", s)
	}
	h.set(publishedTime.Add(24 * time.Hour))
	const want = `{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"deleted","record":false,"custom_field":"","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30","deleted_at":"2024-06-16T10:30:00+05:30","end_reason":"expired"}}`
	h.own("GET", "/greenvn/"+id, "").want(200).exactly(want)
	h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+vn2+`"}`).refused(409, "allocation_not_active", "")
	h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+carol+`"]}`).refused(409, "allocation_not_active", "")
	h.own("PATCH", "/greenvn/"+id, `{"duration":60}`).refused(409, "allocation_not_active", "")

	h.pass(time.Hour)
	h.create(vn1, alice, bob) // its number and its parties are free at once
	h.own("DELETE", "/greenvn/"+id, "").want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","status":"deleted","deleted_at":"2024-06-16T10:30:00+05:30"}}`)

	n, err := h.plane.Allocations.Sweep(t.Context(), 10)
	if err != nil || n != 1 {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
	h.own("GET", "/greenvn/"+id, "").want(200).exactly(want)
}

func TestOnewayIsShownOnlyWhereItIsSo(t *testing.T) {
	h := newHarness(t)
	id := h.own("POST", "/greenvn", `{"caller_id_number":"`+vn1+`","from":["`+alice+`"],"to":["`+bob+`"],"usage":"oneway"}`).want(201).text("greenvn_id")
	h.own("GET", "/greenvn/"+id, "").want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":false,"custom_field":"","call_count":0,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30","usage":"oneway"}}`)
	two := h.own("POST", "/greenvn", `{"caller_id_number":"`+vn2+`","from":["`+alice+`"],"to":["`+bob+`"],"usage":"twoway"}`).want(201).text("greenvn_id")
	if got := h.own("GET", "/greenvn/"+two, "").body; strings.Contains(got, "usage") {
		t.Errorf("usage in %s", got)
	}
}

func TestTimesAreInTheTenantsZone(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	h.admin("PUT", "/v1/admin/tenants/acme", `{"timezone":"America/New_York"}`).want(200)
	h.pass(2 * time.Second)
	if got := h.own("GET", "/greenvn/"+id, "").want(200).text("created_at"); got != "2024-06-15T01:00:00-04:00" {
		t.Errorf("created_at %s", got)
	}
}

func TestDeletingTellsTheVoicePlane(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	h.own("DELETE", "/greenvn/"+id+"?terminate_calls=true", "").want(200)
	other := h.create(vn1, alice, bob)
	h.admin("DELETE", "/v1/admin/tenants/acme/greenvn/"+other, "").want(200)
	if got := h.own("GET", "/greenvn/"+other, "").text("end_reason"); got != "admin" {
		t.Errorf("end_reason %q, want admin", got)
	}
	want := []string{id + " false", id + " true", other + " false"}
	if got := h.ended.all(); strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("told %v, want %v", got, want)
	}
}
