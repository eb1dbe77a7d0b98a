package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/web/api"
)

func TestWithoutValidCredentialsThereIsA401WithItsChallenge(t *testing.T) {
	h := newHarness(t)
	for name, o := range map[string]option{
		"none":             func(r *http.Request) { r.Header.Del("Authorization") },
		"wrong token":      as(h.sid, "tdm_wrong"),
		"wrong sid":        as("ac_wrong", h.token),
		"empty token":      as(h.sid, ""),
		"empty sid":        as("", h.token),
		"swapped":          as(h.token, h.sid),
		"bearer":           header("Authorization", "Bearer "+h.token),
		"the admin token":  as("admin", adminToken),
		"not base64":       header("Authorization", "Basic ####"),
		"no colon":         header("Authorization", "Basic YWJj"),
		"huge":             header("Authorization", "Basic "+strings.Repeat("YWJj", 2000)),
		"token and space":  as(h.sid, h.token+" "),
		"another's prefix": as(h.sid, h.token[:len(h.token)-1]),
	} {
		for _, method := range []string{"GET", "POST"} {
			a := h.own(method, "/greenvn", "", o)
			if a.status != 401 || a.text("code") != "unauthorized" {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
			if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
				t.Errorf("%s: WWW-Authenticate %q", name, got)
			}
		}
	}
	a := h.admin("GET", "/v1/admin/tenants", "", header("Authorization", "Bearer wrong")).refused(401, "unauthorized", "")
	if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") {
		t.Errorf("WWW-Authenticate %q", got)
	}
	h.admin("GET", "/v1/admin/tenants", "", as(h.sid, h.token)).refused(401, "unauthorized", "") // a tenant is no operator
	h.admin("GET", "/v1/tenants/acme/greenvn", "").refused(401, "unauthorized", "")              // nor the other way round
	h.admin("GET", "/v1/admin/tenants", "", header("Authorization", "bearer  "+adminToken)).want(200)
}

func TestSeveralTokensLiveAtOnceAndARevokedOneDiesWithinTwoSeconds(t *testing.T) {
	h := newHarness(t)
	made := h.admin("POST", "/v1/admin/tenants/acme/tokens", `{"label":"ci"}`).want(201)
	second, id := made.text("token"), made.text("token_id")
	h.own("GET", "/greenvn", "").want(200)
	h.own("GET", "/greenvn", "", as(h.sid, second)).want(200)
	listed := h.admin("GET", "/v1/admin/tenants/acme/tokens", "").want(200)
	if strings.Contains(listed.body, second) || strings.Contains(listed.body, h.token) || !strings.Contains(listed.body, id) {
		t.Errorf("the list of tokens: %s", listed.body)
	}
	h.admin("GET", "/v1/admin/tenants/acme/tokens/"+id, "").want(200)
	h.admin("DELETE", "/v1/admin/tenants/acme/tokens/"+id, "").want(200)
	h.pass(time.Second)
	h.own("GET", "/greenvn", "", as(h.sid, second)).refused(401, "unauthorized", "")
	h.own("GET", "/greenvn", "").want(200)
	h.admin("DELETE", "/v1/admin/tenants/acme/tokens/"+id, "").refused(404, "not_found", "")
	h.admin("GET", "/v1/admin/tenants/acme/tokens/"+id, "").refused(404, "not_found", "")
}

func TestGuessersAreLimitedAndLockNobodyOut(t *testing.T) {
	h := newHarness(t)
	second := h.admin("POST", "/v1/admin/tenants/acme/tokens", `{"label":"never used so far"}`).want(201)
	revoked := h.admin("POST", "/v1/admin/tenants/acme/tokens", `{"label":"revoked"}`).want(201)
	h.admin("DELETE", "/v1/admin/tenants/acme/tokens/"+revoked.text("token_id"), "").want(200)
	for i := range api.AttemptsAtOnce + 20 {
		guess := as(h.sid, "tdm_guess"+strconv.Itoa(i))
		if i%2 == 0 {
			guess = as(h.sid, revoked.text("token"))
		}
		a := h.own("GET", "/greenvn", "", guess)
		if i < api.AttemptsAtOnce {
			a.refused(401, "unauthorized", "")
			continue
		}
		if a.refused(429, "rate_limited", ""); a.header.Get("Retry-After") != "1" {
			t.Fatalf("429 with %v", a.header)
		}
	}
	// First seen now, from the guesser's own address.
	h.own("GET", "/greenvn", "").want(200)
	h.own("GET", "/greenvn", "", as(h.sid, second.text("token"))).want(200)
	h.admin("GET", "/v1/admin/tenants", "").want(200)
	h.own("GET", "/greenvn", "", as(h.sid, h.token+"x")).refused(429, "rate_limited", "")
	h.pass(time.Second)
	h.own("GET", "/greenvn", "", header("Authorization", "")).refused(401, "unauthorized", "") // the limit fills up again
}

func TestATenantsRateIsLimitedAndTold(t *testing.T) {
	h := newHarness(t)
	made := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"slow","rate_limit":{"per_second":2,"burst":5}}`).want(201)
	slow := as(made.text("account_sid"), made.text("token"))
	for i := range 5 {
		a := h.do("GET", "/v1/tenants/slow/greenvn", "", slow).want(200)
		if got, want := a.header.Get("RateLimit-Remaining"), strconv.Itoa(4-i); got != want {
			t.Errorf("request %d: RateLimit-Remaining %s, want %s", i, got, want)
		}
		if a.header.Get("RateLimit-Limit") != "5" || a.header.Get("RateLimit-Reset") == "" {
			t.Errorf("request %d: headers %v", i, a.header)
		}
	}
	for _, path := range []string{"/v1/tenants/slow/greenvn", "/v1/tenants/acme/greenvn"} { // another's path counts too
		a := h.do("GET", path, "", slow).refused(429, "rate_limited", "")
		if a.header.Get("Retry-After") != "1" || a.header.Get("RateLimit-Remaining") != "0" {
			t.Errorf("headers %v", a.header)
		}
	}
	h.own("GET", "/greenvn", "").want(200) // another tenant does not feel it
	h.pass(500 * time.Millisecond)
	h.do("GET", "/v1/tenants/slow/greenvn", "", slow).want(200)
	h.do("GET", "/v1/tenants/slow/greenvn", "", slow).want(429)

	h.admin("PUT", "/v1/admin/tenants/slow", `{"rate_limit":{"burst":50}}`).want(200)
	h.pass(time.Second)
	a := h.do("GET", "/v1/tenants/slow/greenvn", "", slow).want(200)
	if a.header.Get("RateLimit-Limit") != "50" {
		t.Errorf("a changed rate is not live: %v", a.header)
	}
}

func TestTheRequestIdIsTakenOrMadeAndComesBackInErrors(t *testing.T) {
	h := newHarness(t)
	a := h.own("GET", "/greenvn/gvn_x", "", header("X-Request-Id", "order-17.a_B"))
	if a.header.Get("X-Request-Id") != "order-17.a_B" || a.text("request_id") != "order-17.a_B" {
		t.Errorf("%v %s", a.header, a.body)
	}
	if !strings.Contains(h.logs.String(), `"request":"order-17.a_B"`) {
		t.Error("the id is not in the log")
	}
	for _, good := range []string{"123456", "2024-x-06-15", "a1b2c3d4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "F47AC10B-1111-7111-8111-11111111111A"} {
		if got := h.own("GET", "/greenvn/gvn_x", "", header("X-Request-Id", good)).header.Get("X-Request-Id"); got != good {
			t.Errorf("%q became %q", good, got)
		}
	}
	for _, bad := range []string{"a b", "+919900000001", strings.Repeat("x", 65), "\"};", "1234567", "919900000001", "call-91-99000.00_001", "0-9.9_0-0-0-0x",
		"00000000-0000-4000-8000-919900000001", "91990000-0001-0000-0000-00000000000a", "91990000x0001-4000-8000-00000000000a", "zz990000-0001-4000-8000-00000000000a"} {
		a := h.own("GET", "/greenvn/gvn_x", "", header("X-Request-Id", bad))
		if got := a.header.Get("X-Request-Id"); !strings.HasPrefix(got, "req_") || len(got) != 36 || a.text("request_id") != got {
			t.Errorf("%q became %q, in the body %q", bad, got, a.text("request_id"))
		}
	}
}

// Every refusal and every log line of a busy day, searched for the parties.
func TestNoPartysNumberStandsInAnErrorOrInTheLog(t *testing.T) {
	h := newHarness(t)
	secrets := []string{"9900000001", "8800000002", "7700000003", "6600000004", "5500000005"}
	id := h.create(vn1, alice, bob)
	crossed := h.create(shared1, carol, dave)
	var errors []*answer
	refuse := func(method, path, body string, options ...option) {
		t.Helper()
		a := h.own(method, path, body, options...)
		if a.status < 400 {
			t.Errorf("%s was not refused: %s", a.request, a.body)
		}
		errors = append(errors, a)
	}
	for _, wrong := range []string{alice + "x", "9900000001", "tel:" + alice, "+91990000000199999999"} {
		refuse("POST", "/greenvn", body(vn2, wrong, bob))
		refuse("POST", "/greenvn", body(wrong, alice, bob))
		refuse("PUT", "/greenvn/"+id+"/call-party", `{"to":[`+quote(wrong)+`]}`)
		refuse("GET", "/greenvn?party="+wrong, "")
		refuse("GET", "/greenvn/"+wrong, "")
	}
	refuse("POST", "/greenvn", `{"from":`+alice)
	refuse("POST", "/greenvn", `{"caller_id_number":"`+vn2+`","from":"`+alice+`","to":["`+bob+`"]}`)
	refuse("POST", "/greenvn", `{"`+alice+`":1,"`+alice+`":2}`)
	refuse("POST", "/greenvn", body(vn2, alice, alice))
	refuse("POST", "/greenvn", body(vn1, carol, dave))
	refuse("POST", "/greenvn", body(shared1, carol, "+915500000005"))
	refuse("PUT", "/greenvn/"+crossed+"/call-party", `{"from":["`+dave+`"]}`)
	refuse("POST", "/greenvn?"+alice, body(vn2, alice, bob)+alice)
	refuse(alice, "/greenvn", "")
	refuse("GET", "/"+alice, "")
	refuse("POST", "/greenvn", body(vn2, alice, bob), header("Content-Type", alice))
	refuse("POST", "/greenvn", body(vn2, alice, bob), key(alice+" x"))
	refuse("GET", "/greenvn?cursor="+alice, "")
	refuse("GET", "/greenvn?limit="+alice, "")
	refuse("GET", "/greenvn", "", as(alice, bob))
	h.own("GET", "/greenvn?party=%2B919900000001", "").want(200)
	h.own("POST", "/greenvn", body(vn2, alice, "+915500000005")).want(201)
	for _, secret := range secrets {
		for _, a := range errors {
			if strings.Contains(a.body, secret) {
				t.Errorf("%s: a number in the error %s", a.request, a.body)
			}
		}
		if i := strings.Index(h.logs.String(), secret); i >= 0 {
			log := h.logs.String()
			t.Errorf("a number in the log: %s", log[max(0, i-200):min(len(log), i+50)])
		}
	}
	if strings.Contains(h.logs.String(), h.token) || strings.Contains(h.logs.String(), adminToken) {
		t.Error("a token in the log")
	}
}
