package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// answering is an API that gives one answer and keeps the last request.
type answering struct {
	status int
	body   string
	header http.Header
	got    *http.Request
	sent   string
}

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.got, a.sent = r.Clone(r.Context()), string(body)
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func serveAnswer(t *testing.T, a *answering) (url string) {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return s.URL
}

func TestARefusalIsShownAsCodeMessageFieldAndRequest(t *testing.T) {
	a := &answering{status: 429, header: http.Header{"Retry-After": {"7"}},
		body: `{"error":{"code":"rate_limited","message":"too\u001b[31m much","field":"x","request_id":"req_1"}}`}
	code, out, errs := run(t.Context(), "tenant", "list", "--admin-token", "x", "--server", serveAnswer(t, a))
	want := `tandem: rate_limited: "too\x1b[31m much" (field x, retry after 7s, request req_1)` + "\n"
	if code != 1 || out != "" || errs != want {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, out, errs, want)
	}
}

func TestARefusalSaysWhatStandsInTheWay(t *testing.T) {
	a := &answering{status: 409, body: `{"error":{"code":"number_in_use","message":"m","blocked_by":["gvn_1","gp_2"],"request_id":"req_1"}}`}
	code, _, errs := run(t.Context(), "erase", "number", "+919900000001", "--tenant", "a", "--account-sid", "x", "--token", "y", "--server", serveAnswer(t, a))
	if want := "tandem: number_in_use: m (blocked by gvn_1 gp_2, request req_1)\n"; code != 1 || errs != want {
		t.Errorf("exit code %d, stderr %q, want %q", code, errs, want)
	}
}

func TestWhatIsNotTheAPIIsSaidToBeSo(t *testing.T) {
	for _, a := range []*answering{
		{status: 502, body: "<html>Bad gateway"},
		{status: 200, body: "<html>Welcome"},
		{status: 200, body: "{}"},
		{status: 200, body: `{"response":"what"}`},
	} {
		code, out, errs := run(t.Context(), "tenant", "get", "a", "--admin-token", "x", "--server", serveAnswer(t, a))
		if code != 1 || out != "" || !strings.HasPrefix(errs, "tandem: ") || strings.Contains(errs, "html") {
			t.Errorf("%d %q: exit code %d, stdout %q, stderr %q", a.status, a.body, code, out, errs)
		}
	}
}

func TestJSONOutputIsTheAnswerItselfWithFieldsThisVersionDoesNotKnow(t *testing.T) {
	a := &answering{status: 200, body: `{"response":{"tenant_id":"a","moon_phase":{"waxing":true}}}`}
	url := serveAnswer(t, a)
	_, out, _ := run(t.Context(), "tenant", "get", "a", "-o", "json", "--admin-token", "x", "--server", url)
	if want := "{\n  \"tenant_id\": \"a\",\n  \"moon_phase\": {\n    \"waxing\": true\n  }\n}\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	_, out, _ = run(t.Context(), "tenant", "get", "a", "--admin-token", "x", "--server", url)
	if want := "tenant_id   a\nmoon_phase  {\"waxing\":true}\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestOthersTextCannotBreakATableOrSteerTheTerminal(t *testing.T) {
	a := &answering{status: 200, body: `{"response":{"items":[{"tenant_id":"a","name":"x\ny\u001b[2J"}],"next_cursor":""}}`}
	_, out, _ := run(t.Context(), "tenant", "list", "--admin-token", "x", "--server", serveAnswer(t, a))
	if strings.Count(out, "\n") != 2 || strings.Contains(out, "\x1b") || !strings.Contains(out, `"x\ny\x1b[2J"`) {
		t.Errorf("got %q", out)
	}
}

func TestEachVerbIsTheRequestOfTheContract(t *testing.T) {
	operator := []string{"--admin-token", "adm", "--tenant", "acme"}
	tenant := []string{"--account-sid", "sid", "--token", "tok", "--tenant", "acme"}
	for _, c := range []struct {
		as                        []string
		args, method, target, out string
	}{
		{operator, "tenant list", "GET", "/v1/admin/tenants", ""},
		{operator, "tenant get acme", "GET", "/v1/admin/tenants/acme", ""},
		{operator, "tenant create acme --burst 5", "POST", "/v1/admin/tenants", `{"tenant_id":"acme","rate_limit":{"burst":5}}`},
		{operator, "tenant update acme --name Acme", "PUT", "/v1/admin/tenants/acme", `{"name":"Acme"}`},
		{operator, "tenant delete acme", "DELETE", "/v1/admin/tenants/acme", ""},
		{operator, "token list", "GET", "/v1/admin/tenants/acme/tokens", ""},
		{operator, "token create --label ci", "POST", "/v1/admin/tenants/acme/tokens", `{"label":"ci"}`},
		{operator, "token delete tok_1", "DELETE", "/v1/admin/tenants/acme/tokens/tok_1", ""},
		{operator, "number list", "GET", "/v1/admin/tenants/acme/numbers?limit=20", ""},
		{operator, "number create +914000000001 --sharing shared", "POST", "/v1/admin/tenants/acme/numbers",
			`{"numbers":[{"number":"+914000000001","sharing":"shared"}]}`},
		{operator, "number update +914000000001 --region=", "PUT", "/v1/admin/tenants/acme/numbers/+914000000001", `{"region":""}`},
		{operator, "number delete +914000000001", "DELETE", "/v1/admin/tenants/acme/numbers/+914000000001", ""},
		{operator, "trunk list", "GET", "/v1/admin/trunks", ""},
		{operator, "trunk get t", "GET", "/v1/admin/trunks/t", ""},
		{operator, "trunk create t --source 10.0.0.1,10.0.0.2 --target 10.0.0.1:5060 --priority 0", "POST", "/v1/admin/trunks",
			`{"name":"t","sources":["10.0.0.1","10.0.0.2"],"targets":["10.0.0.1:5060"],"priority":0}`},
		{operator, "trunk update t --trust-identity=false", "PUT", "/v1/admin/trunks/t", `{"trust_identity":false}`},
		{operator, "trunk delete t", "DELETE", "/v1/admin/trunks/t", ""},
		{operator, "allocation delete gvn_1 --terminate-calls", "DELETE", "/v1/admin/tenants/acme/greenvn/gvn_1?terminate_calls=true", ""},
		{operator, "audit list --action admin-tokens-create --oldest", "GET", "/v1/admin/audit?action=admin-tokens-create&limit=20&order=oldest&tenant_id=acme", ""},
		{tenant, "audit list --since 2026-01-01T00:00:00Z", "GET", "/v1/tenants/acme/audit?limit=20&since=2026-01-01T00%3A00%3A00Z", ""},
		{tenant, "erase number +919900000001 --force", "POST", "/v1/tenants/acme/erasures", `{"number":"+919900000001","force":true}`},
		{tenant, "erase get ers_1", "GET", "/v1/tenants/acme/erasures/ers_1", ""},
		{tenant, "erase list --number +919900000001", "GET", "/v1/tenants/acme/erasures?limit=20&number=%2B919900000001", ""},
		{operator, "nodes", "GET", "/v1/admin/nodes", ""},
		{operator, "calls live --limit 5", "GET", "/v1/admin/calls?limit=5", ""},
		{tenant, "number list --cursor c", "GET", "/v1/tenants/acme/numbers?cursor=c&limit=20", ""},
		{tenant, "allocation list --party +919900000001", "GET", "/v1/tenants/acme/greenvn?limit=20&party=%2B919900000001", ""},
		{tenant, "allocation get gvn_1", "GET", "/v1/tenants/acme/greenvn/gvn_1", ""},
		{tenant, "allocation create --from +919900000001 --to +918800000002 --region AP --record", "POST", "/v1/tenants/acme/greenvn",
			`{"caller_id_number":"auto","from":["+919900000001"],"to":["+918800000002"],"record":true,"preferences":{"region":"AP"}}`},
		{tenant, "allocation update gvn_1 --record=false", "PATCH", "/v1/tenants/acme/greenvn/gvn_1", `{"record":false}`},
		{tenant, "allocation parties gvn_1 --to +918800000003", "PUT", "/v1/tenants/acme/greenvn/gvn_1/call-party", `{"to":["+918800000003"]}`},
		{tenant, "allocation number gvn_1 +914000000002", "PUT", "/v1/tenants/acme/greenvn/gvn_1/vn", `{"caller_id_number":"+914000000002"}`},
		{tenant, "allocation delete gvn_1", "DELETE", "/v1/tenants/acme/greenvn/gvn_1", ""},
		{tenant, "calls list --allocation gvn_1 --status ended --since 2024-06-15T10:30:00Z", "GET",
			"/v1/tenants/acme/calls?greenvn_id=gvn_1&limit=20&since=2024-06-15T10%3A30%3A00Z&status=ended", ""},
		{tenant, "calls list --allocation gp_1", "GET", "/v1/tenants/acme/calls?greenpin_id=gp_1&limit=20", ""},
		{tenant, "pin create --number +914000000001 --from +919900000001 --max-pin-attempts 5", "POST", "/v1/tenants/acme/greenpin",
			`{"caller_id_number":"+914000000001","from":["+919900000001"],"max_pin_attempts":5}`},
		{tenant, "pin list --status expired", "GET", "/v1/tenants/acme/greenpin?limit=20&status=expired", ""},
		{tenant, "pin get gp_1", "GET", "/v1/tenants/acme/greenpin/gp_1", ""},
		{tenant, "pin update gp_1 --to +918800000003 --record=false --duration 600", "PUT", "/v1/tenants/acme/greenpin/gp_1",
			`{"to":["+918800000003"],"duration":600,"record":false}`},
		{tenant, "pin delete gp_1 --terminate-calls", "DELETE", "/v1/tenants/acme/greenpin/gp_1?terminate_calls=true", ""},
		{tenant, "pin unlock gp_1", "POST", "/v1/tenants/acme/greenpin/gp_1/unlock", `{}`},
		{tenant, "pin unlock gp_1 --caller +919900000001", "POST", "/v1/tenants/acme/greenpin/gp_1/unlock", `{"caller":"+919900000001"}`},
		{tenant, "settings get", "GET", "/v1/tenants/acme/settings", ""},
		{tenant, "settings update --pin-fallback --strangers forward --strangers-forward-to +919900000001", "PUT", "/v1/tenants/acme/settings",
			`{"pin_fallback":true,"stranger_policy":{"action":"forward","forward_to":"+919900000001"}}`},
		{tenant, "settings update --pin-length 6 --recording-retention-days 0 --retention-days 90", "PUT", "/v1/tenants/acme/settings",
			`{"pin_length":6,"recording_retention_days":0,"retention_days":90}`},
		{tenant, "call show call_1", "GET", "/v1/tenants/acme/calls/call_1", ""},
		{operator, "calls show call_1", "GET", "/v1/admin/calls/call_1", ""},
		{tenant, "calls get call_1", "GET", "/v1/tenants/acme/calls/call_1", ""},
	} {
		a := &answering{status: 200, body: `{"response":{"items":[],"next_cursor":""}}`}
		args := append(strings.Fields(c.args), append(c.as, "--server", serveAnswer(t, a))...)
		code, _, errs := run(t.Context(), args...)
		if code != 0 || a.got == nil {
			t.Errorf("%s: exit code %d: %s", c.args, code, errs)
			continue
		}
		if a.got.Method != c.method || a.got.RequestURI != c.target || a.sent != c.out {
			t.Errorf("%s: sent %s %s %s\nwant %s %s %s", c.args, a.got.Method, a.got.RequestURI, a.sent, c.method, c.target, c.out)
		}
		sid, token, basic := a.got.BasicAuth()
		if bearer := a.got.Header.Get("Authorization"); c.as[0] == "--admin-token" && bearer != "Bearer adm" ||
			c.as[0] != "--admin-token" && (!basic || sid != "sid" || token != "tok") {
			t.Errorf("%s: wrong credentials", c.args)
		}
	}
}

func TestARecordingIsSavedInAFileOrNotAtAll(t *testing.T) {
	t.Chdir(t.TempDir())
	as := []string{"--account-sid", "sid", "--token", "tok", "--tenant", "acme", "--server"}
	a := &answering{status: 200, body: "RIFF\x00\xff", header: http.Header{"Content-Type": {"audio/wav"}}}
	recording := func(args ...string) (int, string, string) {
		t.Helper()
		return run(t.Context(), append(append([]string{"calls", "recording"}, args...), append(as, serveAnswer(t, a))...)...)
	}
	files := func(want ...string) {
		t.Helper()
		found, err := filepath.Glob("*")
		hidden, err2 := filepath.Glob(".*")
		if err != nil || err2 != nil || !slices.Equal(found, want) || len(hidden) != 0 {
			t.Errorf("files %v %v, want %v", found, hidden, want)
		}
	}
	if code, out, errs := recording("call_1"); code != 0 || out != "call_1.wav\n" || a.got.RequestURI != "/v1/tenants/acme/calls/call_1/recording" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	if got, err := os.ReadFile("call_1.wav"); err != nil || string(got) != a.body {
		t.Errorf("saved %q, %v", got, err)
	}
	if code, out, _ := recording("call_1", "--file", "-"); code != 0 || out != a.body {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	if code, _, errs := recording("../call_1"); code != 2 || !strings.Contains(errs, "not the id of a call") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	files("call_1.wav")
	a.status, a.body = 409, `{"error":{"code":"recording_not_ready","message":"not yet","request_id":"req_1"}}`
	code, _, errs := recording("call_1", "--file", "other.wav")
	if code != 1 || errs != "tandem: recording_not_ready: not yet (request req_1)\n" {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
	files("call_1.wav")
	if code, _, errs := recording("call_1", "--file", "nowhere/x.wav"); code != 1 || !strings.Contains(errs, "save the recording") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
}
