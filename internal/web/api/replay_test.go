package api_test

import (
	"strings"
	"testing"
	"time"
)

func key(k string) option { return header("Idempotency-Key", k) }

func TestARepeatedRequestGetsTheFirstAnswerByteForByte(t *testing.T) {
	h := newHarness(t)
	first := h.own("POST", "/greenvn", body(vn1, alice, bob), key("k1")).want(201)
	id := first.text("greenvn_id")
	h.pass(time.Hour)
	if again := h.own("POST", "/greenvn", body(vn1, alice, bob), key("k1")).want(201); again.body != first.body {
		t.Errorf("got %s, first %s", again.body, first.body)
	}
	put := `{"caller_id_number":"` + vn2 + `"}`
	moved := h.own("PUT", "/greenvn/"+id+"/vn", put, key("k2")).want(200)
	swapped := h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+carol+`"]}`, key("k3")).want(200)
	patched := h.own("PATCH", "/greenvn/"+id, `{"record":true}`, key("k4")).want(200)
	gone := h.own("DELETE", "/greenvn/"+id, "", key("k5")).want(200)
	h.pass(time.Hour)
	for _, again := range []struct{ first, second *answer }{
		{first, h.own("POST", "/greenvn", body(vn1, alice, bob), key("k1"))},
		{moved, h.own("PUT", "/greenvn/"+id+"/vn", put, key("k2"))},
		{swapped, h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+carol+`"]}`, key("k3"))},
		{patched, h.own("PATCH", "/greenvn/"+id, `{"record":true}`, key("k4"))},
		{gone, h.own("DELETE", "/greenvn/"+id, "", key("k5"))},
	} {
		if again.first.body != again.second.body || again.first.status != again.second.status {
			t.Errorf("%s: again %d %s, first %d %s", again.first.request, again.second.status, again.second.body, again.first.status, again.first.body)
		}
	}
	if got := h.own("GET", "/greenvn/"+id, "").text("status"); got != "deleted" {
		t.Errorf("the repeats made it %s", got)
	}
	events := h.own("GET", "/events?limit=100", "").want(200)
	if n := strings.Count(events.body, `"type":"greenvn.`); n != 5 {
		t.Errorf("%d events of 5 changes: %s", n, events.body)
	}
}

func TestOneKeyForTwoRequestsIsRefused(t *testing.T) {
	h := newHarness(t)
	id := h.own("POST", "/greenvn", body(vn1, alice, bob), key("k")).want(201).text("greenvn_id")
	h.own("POST", "/greenvn", body(vn2, alice, bob), key("k")).refused(409, "idempotency_key_reused", "")
	h.own("POST", "/greenvn", body(vn1, alice, bob)+" ", key("k")).refused(409, "idempotency_key_reused", "")
	h.own("DELETE", "/greenvn/"+id, "", key("k")).refused(409, "idempotency_key_reused", "")
	h.own("POST", "/greenvn", body(vn1, alice, bob), key("k")).want(201)
	sid, token := h.tenant("other")
	h.numbers("other", "+914999000001", "exclusive")
	h.do("POST", "/v1/tenants/other/greenvn", body("+914999000001", alice, bob), key("k"), as(sid, token)).want(201) // keys are each tenant's own
}

func TestARefusalByARuleIsKeptAndARequestThatIsWrongIsNot(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	first := h.own("POST", "/greenvn", body(vn1, carol, dave), key("taken")).refused(409, "virtual_number_in_use", "caller_id_number")
	wrong := `{"caller_id_number":"+914000000099","from":["` + alice + `"],"to":["` + bob + `"]}`
	h.own("POST", "/greenvn", wrong, key("wrong")).refused(400, "virtual_number_not_in_pool", "caller_id_number")
	h.own("GET", "/greenvn/gvn_abc123", "", key("ignored on GET")).refused(404, "not_found", "")
	h.own("PUT", "/greenvn/gvn_abc123/vn", `{"caller_id_number":"`+vn1+`"}`, key("unknown")).refused(404, "not_found", "")

	h.own("DELETE", "/greenvn/"+id, "").want(200)
	h.numbers("acme", "+914000000099", "exclusive")
	if again := h.own("POST", "/greenvn", body(vn1, carol, dave), key("taken")); again.body != first.body || again.status != 409 {
		t.Errorf("again %d %s, first %s", again.status, again.body, first.body)
	}
	h.own("POST", "/greenvn", wrong, key("wrong")).want(201)
	h.own("POST", "/greenvn", body(vn1, carol, dave), key("another")).want(201)
}

func TestAKeyIsForgottenAfterADay(t *testing.T) {
	h := newHarness(t)
	h.own("POST", "/greenvn", body(vn1, alice, bob), key("k")).want(201)
	h.pass(24*time.Hour - time.Second)
	h.own("POST", "/greenvn", body(vn2, alice, bob), key("k")).refused(409, "idempotency_key_reused", "")
	h.pass(2 * time.Second)
	h.own("POST", "/greenvn", body(vn2, alice, bob), key("k")).want(201)
}

func TestDuplicatesInFlightWaitForTheFirst(t *testing.T) {
	h := newHarness(t)
	for name, body := range map[string]string{"made": body("auto", alice, bob), "refused": body(vn1, carol, dave)} {
		if name == "refused" {
			h.create(vn1, "+919000000001", "+919000000002")
		}
		answers := h.gather(40, func(int) (*answer, error) {
			return h.try("POST", "/v1/tenants/acme/greenvn", body, as(h.sid, h.token), key("k-"+name))
		})
		for _, a := range answers {
			if a.body != answers[0].body || a.status != answers[0].status {
				t.Errorf("%s: %d %s beside %d %s", name, a.status, a.body, answers[0].status, answers[0].body)
			}
		}
	}
	if n := strings.Count(h.own("GET", "/greenvn?limit=100", "").body, `"greenvn_id"`); n != 2 {
		t.Errorf("%d allocations were made, want 2", n)
	}
}

func TestAnIdempotencyKeyMustBeVisibleASCII(t *testing.T) {
	h := newHarness(t)
	for _, k := range []string{"", "a b", "ü", strings.Repeat("k", 256)} {
		h.own("POST", "/greenvn", body(vn1, alice, bob), key(k)).refused(400, "invalid_field", "Idempotency-Key")
	}
	h.own("POST", "/greenvn", body(vn1, alice, bob), key(strings.Repeat("k", 255))).want(201)
}

func TestTheOperatorsChangesAreRepeatableToo(t *testing.T) {
	h := newHarness(t)
	make := func() *answer {
		return h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"twice"}`, key("t")).want(201)
	}
	first := make()
	if again := make(); again.body != first.body {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	h.do("GET", "/v1/tenants/twice/numbers", "", as(first.text("account_sid"), first.text("token"))).want(200)
	trunk := func() string {
		return h.admin("POST", "/v1/admin/trunks", `{"name":"a","sources":["192.0.2.1"],"country":"IN"}`, key("trunk")).want(201).body
	}
	if a, b := trunk(), trunk(); a != b {
		t.Errorf("again %s, first %s", b, a)
	}
	gone := h.admin("DELETE", "/v1/admin/tenants/twice", "", key("d")).want(200).body
	if again := h.admin("DELETE", "/v1/admin/tenants/twice", "", key("d")).want(200).body; again != gone {
		t.Errorf("again %s, first %s", again, gone)
	}
}

func TestAKeptRefusalTellsWhenToTryAgainAtEachRepeat(t *testing.T) {
	h := newHarness(t)
	full := func(i int) {
		made := h.own("POST", "/greenvn", `{"caller_id_number":"auto","from":["`+alice+`"],"to":["`+bob+`"],"duration":3600}`).want(201)
		if made.text("virtual_number") == "" {
			t.Fatalf("allocation %d: %s", i, made.body)
		}
	}
	for i := range 4 {
		full(i)
	}
	ask := func(after time.Duration, want string, options ...option) *answer {
		t.Helper()
		h.pass(after)
		a := h.own("POST", "/greenvn", body("auto", alice, bob), options...).refused(409, "no_number_available", "")
		if got := a.header.Get("Retry-After"); got != want {
			t.Errorf("Retry-After %q, want %q", got, want)
		}
		return a
	}
	ask(0, "3600")
	first := ask(0, "3600", key("k"))
	if again := ask(10*time.Minute, "3000", key("k")); again.body != first.body {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	ask(2*time.Hour, "1", key("k")) // kept, though a new key would succeed now
	h.own("POST", "/greenvn", body("auto", alice, bob), key("another")).want(201)
	taken := h.own("POST", "/greenvn", body(vn1, alice, bob), key("taken"))
	if taken.header.Get("Retry-After") != "" {
		t.Errorf("%d with Retry-After %q", taken.status, taken.header.Get("Retry-After"))
	}
}

func TestTheKeysOfTheOperatorAndOfATenantAreApart(t *testing.T) {
	h := newHarness(t)
	id := h.own("POST", "/greenvn", body(vn1, alice, bob), key("k")).want(201).text("greenvn_id")
	ended := h.admin("DELETE", "/v1/admin/tenants/acme/greenvn/"+id, "", key("k")).want(200)
	if again := h.admin("DELETE", "/v1/admin/tenants/acme/greenvn/"+id, "", key("k")).want(200); again.body != ended.body {
		t.Errorf("again %s, first %s", again.body, ended.body)
	}
	second := h.create(vn2, alice, bob)
	h.admin("DELETE", "/v1/admin/tenants/acme/greenvn/"+second, "", key("second")).want(200)
	h.own("DELETE", "/greenvn/"+second, "", key("second")).want(200)
}
