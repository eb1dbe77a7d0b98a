package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzBodies throws bodies at the operations that read one. Whatever comes,
// the answer is one of the published statuses in an envelope, and no fault.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		with("", ""), body("auto", alice, bob), with("duration", "1e3"), with("from", "[]"), with("preferences", `{"region":"AP","strictness":"strict"}`),
		with("custom_field", `"\ud83d\ude00"`), with("custom_field", `"\ud83d"`), `{"from":["` + alice + `"]}`, `{"to":null}`,
		`{"caller_id_number":"` + vn2 + `"}`, `{"duration":60,"record":true,"custom_field":""}`, `{}`, `[]`, `null`, `{"a":{"a":{"a":[]}}}`,
		`{"from":[` + strings.Repeat(`"+919900000001",`, 12) + `"+919900000001"],"to":["+1234567"]}`, `[{"greenpin_id":"gp_abc123","record":true},{"greenpin_id":7},null,[],{}]`, `{"caller":"` + carol + `"}`, `{"max_pin_attempts":3,"duration":300}`,
		`{"stranger_policy":{"action":"forward","forward_to":"` + bob + `"},"pin_length":6,"language":"hi"}`, "\x00", "{\"from\":\"\xff\"}", `{"":1,"":2}`, " ",
	} {
		f.Add(seed)
	}
	h := newHarness(f)
	id := h.create(shared1, carol, dave)
	pin := h.own("POST", "/greenpin", body(shared1, carol, dave)).want(201).text("greenpin_id")
	requests := []struct{ method, path string }{
		{"POST", "/greenpin"}, {"PUT", "/greenpin/" + pin}, {"PUT", "/greenpin"}, {"POST", "/greenpin/" + pin + "/unlock"}, {"PUT", "/settings"},
		{"POST", "/greenvn"}, {"PUT", "/greenvn/" + id + "/call-party"}, {"PUT", "/greenvn/" + id + "/vn"}, {"PATCH", "/greenvn/" + id}, {"DELETE", "/greenvn/gvn_abc123"},
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, r := range requests {
			a, err := h.try(r.method, "/v1/tenants/acme"+r.path, body, as(h.sid, h.token))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains([]int{200, 201, 400, 404, 409}, a.status) {
				t.Fatalf("%s: %d %s", a.request, a.status, a.body)
			}
			if !json.Valid([]byte(body)) && a.status < 400 && r.path != "/greenpin/"+pin+"/unlock" {
				t.Fatalf("%s: took what is no JSON: %s", a.request, a.body)
			}
		}
	})
}
