package api_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// refusal is a request and how it must be refused.
type refusal struct {
	name, method, path, body string
	options                  []option
	status                   int
	code, field              string
}

func (h *harness) refuseAll(t *testing.T, cases []refusal) {
	h.Helper()
	for _, c := range cases {
		if c.name == "" {
			c.name = c.method + " " + c.path + " " + c.body
		}
		t.Run(strings.ReplaceAll(c.name[:min(len(c.name), 60)], "/", "·"), func(t *testing.T) {
			inner := &harness{TB: t, server: h.server, sid: h.sid, token: h.token}
			inner.own(c.method, c.path, c.body, c.options...).refused(c.status, c.code, c.field)
		})
	}
}

// fields builds a create body with one field replaced, or left out by "-".
func with(field, value string) string {
	all := []struct{ name, value string }{
		{"caller_id_number", `"` + vn2 + `"`}, {"from", `["` + alice + `"]`}, {"to", `["` + bob + `"]`},
		{"duration", "60"}, {"record", "false"}, {"custom_field", `"x"`}, {"usage", `"twoway"`}, {"preferences", `{}`},
	}
	var parts []string
	for _, f := range all {
		if f.name == field {
			f.value = value
		}
		if f.value != "-" {
			parts = append(parts, fmt.Sprintf("%q:%s", f.name, f.value))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestCreateRefusesWhatIsWrongAndNamesTheField(t *testing.T) {
	h := newHarness(t)
	h.create(vn1, alice, bob)
	h.tenant("other")
	h.numbers("other", "+914999000001", "exclusive")
	many := `["+919800000001","+919800000002","+919800000003","+919800000004","+919800000005","+919800000006",` +
		`"+919800000007","+919800000008","+919800000009","+919800000010","+919800000011"]`
	var cases []refusal
	for _, c := range []struct{ field, value, code, blamed string }{
		{"caller_id_number", "-", "missing_field", "caller_id_number"},
		{"caller_id_number", "null", "invalid_field", "caller_id_number"},
		{"caller_id_number", "914000000002", "invalid_field", "caller_id_number"},
		{"caller_id_number", `["` + vn2 + `"]`, "invalid_field", "caller_id_number"},
		{"caller_id_number", `""`, "invalid_number", "caller_id_number"},
		{"caller_id_number", `"AUTO"`, "invalid_number", "caller_id_number"},
		{"caller_id_number", `"914000000002"`, "invalid_number", "caller_id_number"},
		{"caller_id_number", `"+919999999999"`, "virtual_number_not_in_pool", "caller_id_number"},
		{"caller_id_number", `"+914999000001"`, "virtual_number_not_in_pool", "caller_id_number"},
		{"from", "-", "missing_field", "from"},
		{"from", "null", "invalid_field", "from"},
		{"from", "[]", "invalid_field", "from"},
		{"from", `"` + alice + `"`, "invalid_field", "from"},
		{"from", `{"0":"` + alice + `"}`, "invalid_field", "from"},
		{"from", `["` + alice + `",null]`, "invalid_field", "from"},
		{"from", `["` + alice + `",919900000009]`, "invalid_field", "from"},
		{"from", `[["` + alice + `"]]`, "invalid_field", "from"},
		{"from", `["9900000001"]`, "invalid_number", "from"},
		{"from", `["+91990000000x"]`, "invalid_number", "from"},
		{"from", `["tel:+919900000001"]`, "invalid_number", "from"},
		{"from", `["` + alice + `","112"]`, "emergency_number", "from"},
		{"from", `["+91112"]`, "emergency_number", "from"},
		{"from", `["` + vn1 + `"]`, "party_is_virtual_number", "from"},
		{"from", many, "invalid_field", "from"},
		{"to", "-", "missing_field", "to"},
		{"to", "null", "invalid_field", "to"},
		{"to", "[]", "invalid_field", "to"},
		{"to", `"` + bob + `"`, "invalid_field", "to"},
		{"to", `["100"]`, "emergency_number", "to"},
		{"to", `["+914999000001"]`, "party_is_virtual_number", "to"},
		{"to", `["` + alice + `"]`, "same_party_on_both_sides", "to"},
		{"to", `["` + bob + `","+91 99000 00001"]`, "same_party_on_both_sides", "to"},
		{"to", many, "invalid_field", "to"},
		{"duration", "0", "invalid_field", "duration"},
		{"duration", "-1", "invalid_field", "duration"},
		{"duration", "14688001", "invalid_field", "duration"},
		{"duration", "9223372036854775807", "invalid_field", "duration"},
		{"duration", "99999999999999999999999", "invalid_field", "duration"},
		{"duration", "86400.5", "invalid_field", "duration"},
		{"duration", "86400.0", "invalid_field", "duration"},
		{"duration", "1e3", "invalid_field", "duration"},
		{"duration", `"86400"`, "invalid_field", "duration"},
		{"duration", "null", "invalid_field", "duration"},
		{"duration", "true", "invalid_field", "duration"},
		{"duration", "[60]", "invalid_field", "duration"},
		{"record", `"true"`, "invalid_field", "record"},
		{"record", "1", "invalid_field", "record"},
		{"record", "null", "invalid_field", "record"},
		{"custom_field", "7", "invalid_field", "custom_field"},
		{"custom_field", "null", "invalid_field", "custom_field"},
		{"custom_field", `{"order":1}`, "invalid_field", "custom_field"},
		{"custom_field", `"` + strings.Repeat("é", 257) + `"`, "invalid_field", "custom_field"},
		{"custom_field", `"a\u0000b"`, "invalid_field", "custom_field"},
		{"custom_field", `"a\ud800b"`, "invalid_field", "custom_field"},
		{"custom_field", `"\udc00\ud800"`, "invalid_field", "custom_field"},
		{"usage", `"both"`, "invalid_field", "usage"},
		{"usage", "1", "invalid_field", "usage"},
		{"preferences", `"AP"`, "invalid_field", "preferences"},
		{"preferences", `{"region":1}`, "invalid_field", "preferences.region"},
		{"preferences", `{"strictness":"very"}`, "invalid_field", "preferences.strictness"},
	} {
		cases = append(cases, refusal{name: c.field + " " + c.value, method: "POST", path: "/greenvn", body: with(c.field, c.value),
			status: 400, code: c.code, field: c.blamed})
	}
	cases = append(cases,
		refusal{name: "in use", method: "POST", path: "/greenvn", body: body(vn1, carol, dave), status: 409, code: "virtual_number_in_use", field: "caller_id_number"})
	h.refuseAll(t, cases)
	h.own("POST", "/greenvn", with("", "")).want(201) // nothing of the refused remained
}

func TestABodyThatIsNotOneJSONObjectIsRefused(t *testing.T) {
	h := newHarness(t)
	good := with("", "")
	var cases []refusal
	for name, body := range map[string]string{
		"truncated":         good[:len(good)-1],
		"trailing garbage":  good + "x",
		"two documents":     good + good,
		"trailing comma":    strings.TrimSuffix(good, "}") + ",}",
		"a list":            "[" + good + "]",
		"a string":          `"x"`,
		"null":              "null",
		"only space":        "  \n ",
		"single quotes":     `{'from':['x']}`,
		"not UTF-8":         strings.Replace(good, `"x"`, "\"\xff\"", 1),
		"a comment":         good + "/* */",
		"a byte order mark": "\ufeff" + good,
		"a field twice":     strings.TrimSuffix(good, "}") + `,"record":true}`,
		"twice, escaped":    strings.TrimSuffix(good, "}") + `,"\u0072ecord":true}`,
		"too deep":          `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}",
	} {
		cases = append(cases, refusal{name: name, method: "POST", path: "/greenvn", body: body, status: 400, code: "invalid_body"})
	}
	cases = append(cases,
		refusal{name: "no body", method: "POST", path: "/greenvn", status: 400, code: "invalid_body"},
		refusal{name: "form", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Type", "application/x-www-form-urlencoded")}, status: 400, code: "invalid_body"},
		refusal{name: "text", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Type", "text/plain")}, status: 400, code: "invalid_body"},
		refusal{name: "suffix", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Type", "application/vnd.x+json")}, status: 400, code: "invalid_body"},
		refusal{name: "latin1", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Type", "application/json; charset=iso-8859-1")}, status: 400, code: "invalid_body"},
		refusal{name: "no media type at all", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Type", "}{")}, status: 400, code: "invalid_body"},
		refusal{name: "compressed", method: "POST", path: "/greenvn", body: good, options: []option{header("Content-Encoding", "gzip")}, status: 400, code: "invalid_body"},
		refusal{name: "too large", method: "POST", path: "/greenvn", body: with("custom_field", `"`+strings.Repeat("a", 70000)+`"`), status: 400, code: "invalid_body"},
		refusal{name: "too large and chunked", method: "POST", path: "/greenvn", body: good, options: []option{func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", 70000)+good)), -1
		}}, status: 400, code: "invalid_body"})
	h.refuseAll(t, cases)
	h.own("POST", "/greenvn", good, header("Content-Type", "Application/JSON; charset=UTF-8")).want(201)
	h.own("POST", "/greenvn", body(vn1, carol, dave), func(r *http.Request) { r.Header.Del("Content-Type") }).want(201)
}

func TestABodyOfExactlyTheLimitIsRead(t *testing.T) {
	h := newHarness(t)
	good := with("", "")
	pad := strings.Repeat(" ", 64<<10-len(good))
	h.own("POST", "/greenvn", pad+" "+good).refused(400, "invalid_body", "")
	h.own("POST", "/greenvn", pad+good).want(201)
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	h := newHarness(t)
	b := strings.TrimSuffix(with("", ""), "}") + `,"Record":"yes","colour":{"deep":[1,2,{"x":null}]},"DURATION":"x"}`
	h.own("POST", "/greenvn", b).want(201)
}

func TestUpdatesRefuseWhatIsWrongAndChangeNothing(t *testing.T) {
	h := newHarness(t)
	mine := h.create(shared1, alice, bob)
	h.create(shared1, carol, dave)
	h.create(vn1, alice, dave)
	gone := h.create(vn2, alice, bob)
	h.own("DELETE", "/greenvn/"+gone, "").want(200)
	before := h.own("GET", "/greenvn/"+mine, "").body
	party, number, one := "/greenvn/"+mine+"/call-party", "/greenvn/"+mine+"/vn", "/greenvn/"+mine
	h.refuseAll(t, []refusal{
		{method: "PUT", path: party, body: `{}`, status: 400, code: "missing_field"},
		{method: "PUT", path: party, body: `{"FROM":["+919911000001"]}`, status: 400, code: "missing_field"},
		{method: "PUT", path: party, body: `{"from":[]}`, status: 400, code: "invalid_field", field: "from"},
		{method: "PUT", path: party, body: `{"from":null,"to":["+919911000001"]}`, status: 400, code: "invalid_field", field: "from"},
		{method: "PUT", path: party, body: `{"to":"+919911000001"}`, status: 400, code: "invalid_field", field: "to"},
		{method: "PUT", path: party, body: `{"to":["911"]}`, status: 400, code: "emergency_number", field: "to"},
		{method: "PUT", path: party, body: `{"to":["` + vn2 + `"]}`, status: 400, code: "party_is_virtual_number", field: "to"},
		{method: "PUT", path: party, body: `{"to":["` + alice + `"]}`, status: 400, code: "same_party_on_both_sides", field: "to"},
		{method: "PUT", path: party, body: `{"to":["+919911000001","` + carol + `"]}`, status: 409, code: "party_in_use"},
		{method: "PUT", path: party, body: ``, status: 400, code: "invalid_body"},
		{method: "PUT", path: number, body: `{}`, status: 400, code: "missing_field", field: "caller_id_number"},
		{method: "PUT", path: number, body: `{"caller_id_number":null}`, status: 400, code: "invalid_field", field: "caller_id_number"},
		{method: "PUT", path: number, body: `{"caller_id_number":"auto"}`, status: 400, code: "invalid_number", field: "caller_id_number"},
		{method: "PUT", path: number, body: `{"caller_id_number":"+919999999999"}`, status: 400, code: "virtual_number_not_in_pool", field: "caller_id_number"},
		{method: "PUT", path: number, body: `{"caller_id_number":"` + vn1 + `"}`, status: 409, code: "virtual_number_in_use", field: "caller_id_number"},
		{method: "PATCH", path: one, body: `{}`, status: 400, code: "missing_field"},
		{method: "PATCH", path: one, body: `{"duration":0}`, status: 400, code: "invalid_field", field: "duration"},
		{method: "PATCH", path: one, body: `{"duration":"60"}`, status: 400, code: "invalid_field", field: "duration"},
		{method: "PATCH", path: one, body: `{"record":null}`, status: 400, code: "invalid_field", field: "record"},
		{method: "PUT", path: "/greenvn/" + gone + "/call-party", body: `{"to":["+919911000001"]}`, status: 409, code: "allocation_not_active"},
		{method: "PUT", path: "/greenvn/" + gone + "/vn", body: `{"caller_id_number":"` + vn2 + `"}`, status: 409, code: "allocation_not_active"},
		{method: "PATCH", path: "/greenvn/" + gone, body: `{"record":true}`, status: 409, code: "allocation_not_active"},
	})
	if after := h.own("GET", "/greenvn/"+mine, "").body; after != before {
		t.Errorf("a refused update changed %s to %s", before, after)
	}
	h.own("PUT", party, `{"from":["`+alice+`"],"to":["`+bob+`"]}`).want(200) // what it already has
	h.own("PUT", number, `{"caller_id_number":"`+shared1+`"}`).want(200)
}

func TestUnknownAndForeignThingsAreOneAndTheSame404(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	sid, token := h.tenant("other")
	reference := h.own("GET", "/greenvn/gvn_abc123", "", header("X-Request-Id", "same")).refused(404, "not_found", "").body
	same := func(a *answer) {
		t.Helper()
		a.want(404)
		if a.body != reference {
			t.Errorf("%s answers %s, an unknown id %s", a.request, a.body, reference)
		}
	}
	foreign := []option{as(sid, token), header("X-Request-Id", "same")}
	own := foreign[1:]
	put := `{"caller_id_number":"` + vn2 + `"}`
	for _, path := range []string{"/v1/tenants/acme", "/v1/tenants/nobody", "/v1/tenants/ACME", "/v1/tenants/%00"} {
		same(h.do("GET", path+"/greenvn/"+id, "", foreign...))
		same(h.do("GET", path+"/greenvn", "", foreign...))
		same(h.do("POST", path+"/greenvn", body(vn2, carol, dave), foreign...))
		same(h.do("DELETE", path+"/greenvn/"+id, "", foreign...))
		same(h.do("PUT", path+"/greenvn/"+id+"/vn", put, foreign...))
		same(h.do("GET", path+"/calls", "", foreign...))
	}
	stranger := "gvn_zzzz" + id[len("gvn_zzzz"):]
	for _, unknown := range []string{stranger, "gvn_", "x", "gvn_%00", "gvn_%F0%9F%98%80", "..%2F" + id, strings.Repeat("g", 5000)} {
		same(h.own("GET", "/greenvn/"+unknown, "", own...))
		same(h.own("DELETE", "/greenvn/"+unknown, "", own...))
		same(h.own("PUT", "/greenvn/"+unknown+"/vn", put, own...))
		same(h.own("PUT", "/greenvn/"+unknown+"/call-party", `{"to":["`+dave+`"]}`, own...))
	}
	same(h.do("GET", "/v1/tenants/other/greenvn/"+id, "", foreign...)) // a foreign id under one's own path
	same(h.own("GET", "/nothing", "", own...))
	same(h.do("GET", "/", "", own...))
	same(h.do("GET", "//v1/tenants/acme/greenvn", "", own...))
}

func TestAnotherMethodIs400WithAllow(t *testing.T) {
	h := newHarness(t)
	for path, allow := range map[string]string{
		"/v1/tenants/acme/greenvn":                       "GET, POST",
		"/v1/tenants/acme/greenvn/gvn_abc123":            "GET, PATCH, DELETE",
		"/v1/tenants/acme/greenvn/gvn_abc123/call-party": "PUT",
		"/v1/tenants/acme/greenvn/gvn_abc123/vn":         "PUT",
		"/v1/tenants/acme/greenpin":                      "GET, POST, PUT",
		"/v1/tenants/acme/greenpin/gp_abc123":            "GET, PUT, DELETE",
		"/v1/tenants/acme/greenpin/gp_abc123/unlock":     "POST",
		"/v1/tenants/acme/calls/call_abc123/recording":   "GET, PUT, DELETE",
		"/v1/tenants/acme/prompts/en/enter_pin":          "GET, PUT, DELETE",
		"/v1/tenants/acme/settings":                      "GET, PUT",
	} {
		for _, method := range []string{"OPTIONS", "BREW", "PUT", "POST"} {
			if strings.Contains(allow, method) {
				continue
			}
			a := h.do(method, path, "").refused(400, "method_not_allowed", "")
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow %q, want %q", method, path, got, allow)
			}
		}
	}
}

func TestABodyThatStopsHalfwayIs400(t *testing.T) {
	h := newHarness(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, _ := http.NewRequest("POST", "/", nil)
	r.SetBasicAuth(h.sid, h.token)
	fmt.Fprintf(conn, "POST /v1/tenants/acme/greenvn HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"from\":", r.Header.Get("Authorization"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	got, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), `"invalid_body"`) {
		t.Errorf("answered %q", got)
	}
}

func TestQueriesAreRefusedByName(t *testing.T) {
	h := newHarness(t)
	var cases []refusal
	for query, field := range map[string]string{
		"/greenvn?limit=0": "limit", "/greenvn?limit=101": "limit", "/greenvn?limit=ten": "limit", "/greenvn?status=ended": "status",
		"/greenvn?cursor=%21": "cursor", "/greenvn?cursor=Z3Zu": "cursor",
		"/calls?status=x": "status", "/calls?since=yesterday": "since", "/calls?until=2024-06-15": "until", "/calls?greenvn_id=x": "greenvn_id",
		"/events?cursor=Z3ZuX2E": "cursor", "/events?since=1": "since", "/numbers?cursor=Z3ZuX2E": "cursor", "/numbers?limit=-1": "limit",
	} {
		cases = append(cases, refusal{method: "GET", path: query, status: 400, code: "invalid_field", field: field})
	}
	cases = append(cases, refusal{method: "GET", path: "/greenvn?party=9900", status: 400, code: "invalid_number", field: "party"},
		refusal{method: "GET", path: "/greenvn?virtual_number=x", status: 400, code: "invalid_number", field: "virtual_number"},
		refusal{method: "DELETE", path: "/greenvn/gvn_abc123?terminate_calls=perhaps", status: 400, code: "invalid_field", field: "terminate_calls"})
	h.refuseAll(t, cases)
}

func TestATenantsOwnMaximumIsNamed(t *testing.T) {
	h := newHarness(t)
	h.admin("PUT", "/v1/admin/tenants/acme", `{"max_duration":3600}`).want(200)
	h.pass(2 * time.Second)
	a := h.own("POST", "/greenvn", with("duration", "3601")).refused(400, "duration_too_long", "duration")
	if !strings.Contains(a.text("message"), "3600") {
		t.Errorf("the message does not name the limit: %s", a.text("message"))
	}
	h.own("POST", "/greenvn", with("duration", "-")).refused(400, "duration_too_long", "duration") // the default is above it
	h.own("POST", "/greenvn", with("duration", "3600")).want(201)
}

func TestWhileDrainingOnlyCreatingIsRefused(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	h.drain(true)
	a := h.own("POST", "/greenvn", body(vn2, alice, bob)).refused(503, "temporarily_unavailable", "")
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	h.own("GET", "/greenvn/"+id, "").want(200)
	h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+vn2+`"}`).want(200)
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	h.drain(false)
	h.create(vn1, alice, bob)
}

func TestWithTheStoreAwayEverythingIs503(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []*answer{
		h.own("POST", "/greenvn", body(vn2, alice, bob)), h.own("GET", "/greenvn/"+id, ""), h.own("GET", "/greenvn", ""),
		h.own("DELETE", "/greenvn/"+id, ""), h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+vn2+`"}`),
		h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+dave+`"]}`), h.admin("GET", "/v1/admin/tenants", ""),
	} {
		a.refused(503, "temporarily_unavailable", "")
		if a.header.Get("Retry-After") != "2" {
			t.Errorf("%s: Retry-After %q", a.request, a.header.Get("Retry-After"))
		}
	}
}

func TestTheWrongMediaTypeIsToldTheRightOne(t *testing.T) {
	h := newHarness(t)
	for _, wrong := range []string{"application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin1", "}{"} {
		a := h.own("POST", "/greenvn", body(vn1, alice, bob), header("Content-Type", wrong)).refused(400, "invalid_body", "")
		if !strings.Contains(a.text("message"), "send Content-Type: application/json") {
			t.Errorf("%s: %s", wrong, a.body)
		}
	}
}

func TestWhoSendsTooMuchLosesHisConnection(t *testing.T) {
	h := newHarness(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(h.sid, h.token)
	// Little enough for the server to read to its end and keep the connection,
	// were it not told otherwise.
	body := strings.Repeat("a", 70_000)
	fmt.Fprintf(conn, "POST /v1/tenants/acme/greenvn HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.Header.Get("Authorization"), len(body), body)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 400 || !answer.Close {
		t.Errorf("status %d, closing %v, %v", answer.StatusCode, answer.Close, err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays open: %v", err)
	}
}
