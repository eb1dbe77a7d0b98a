package api_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/masking"
	"tandem/internal/web/api"
)

// auditItems gives what a list of entries holds, newest first.
func (h *harness) auditItems(query string) []map[string]any {
	h.Helper()
	var items []map[string]any
	for _, item := range h.admin("GET", "/v1/admin/audit?limit=100&"+query, "").want(200).fields["items"].([]any) {
		items = append(items, item.(map[string]any))
	}
	return items
}

func (h *harness) auditSequence() float64 {
	h.Helper()
	return h.admin("GET", "/v1/admin/audit/head", "").want(200).fields["sequence"].(float64)
}

// traffic are the operations that leave no audit entry: what a tenant does with
// his own allocations, which events tell of.
func traffic() []string {
	return []string{"greenvn-create", "greenvn-delete", "greenvn-patch", "greenvn-update-number", "greenvn-update-parties",
		"greenpin-create", "greenpin-delete", "greenpin-unlock", "greenpin-update", "greenpin-update-many"}
}

// questions are operations with a body that change nothing.
func questions() []string { return []string{"routes-explain", "webhooks-test", "numbers-dry-run"} }

// deed carries out one operation, and gives what the entry says of it.
type deed func(h *harness) (actor, tenant, object string)

// deeds are all operations that change something and are no traffic.
func deeds() map[string]deed {
	const operator, tenants = masking.Operator, "/v1/admin/tenants"
	token := func(h *harness) string {
		return h.admin("POST", tenants+"/acme/tokens", `{"label":"another"}`).want(201).text("token_id")
	}
	trunk := func(h *harness) {
		h.admin("POST", "/v1/admin/trunks", `{"name":"carrier-a","targets":["192.0.2.1:5060"],"country":"IN","auth":{"username":"u","password":"never-told"}}`).want(201)
	}
	all := map[string]deed{
		"admin-tenants-create": func(h *harness) (string, string, string) { h.tenant("zeta"); return operator, "zeta", "zeta" },
		"admin-tenants-change": func(h *harness) (string, string, string) {
			h.admin("PUT", tenants+"/acme", `{"name":"N"}`).want(200)
			return operator, "acme", ""
		},
		"admin-tenants-remove": func(h *harness) (string, string, string) {
			h.tenant("zeta")
			h.admin("DELETE", tenants+"/zeta", "").want(200)
			return operator, "zeta", ""
		},
		"admin-greenvn-end": func(h *harness) (string, string, string) {
			id := h.create(vn1, alice, bob)
			h.admin("DELETE", tenants+"/acme/greenvn/"+id, "").want(200)
			return operator, "acme", id
		},
		"admin-numbers-add": func(h *harness) (string, string, string) {
			h.numbers("acme", "+914000000021", "shared", "+914000000022", "shared")
			return operator, "acme", "+91…21 +91…22"
		},
		"admin-numbers-change": func(h *harness) (string, string, string) {
			h.admin("PUT", tenants+"/acme/numbers/"+vn1, `{"region":"KA"}`).want(200)
			return operator, "acme", "+91…01"
		},
		"admin-numbers-remove": func(h *harness) (string, string, string) {
			h.admin("DELETE", tenants+"/acme/numbers/"+vn1, "").want(200)
			return operator, "acme", "+91…01"
		},
		"admin-tokens-create": func(h *harness) (string, string, string) { return operator, "acme", token(h) },
		"admin-tokens-revoke": func(h *harness) (string, string, string) {
			id := token(h)
			h.admin("DELETE", tenants+"/acme/tokens/"+id, "").want(200)
			return operator, "acme", id
		},
		"admin-trunks-create": func(h *harness) (string, string, string) { trunk(h); return operator, "", "carrier-a" },
		"admin-trunks-change": func(h *harness) (string, string, string) {
			trunk(h)
			h.admin("PUT", "/v1/admin/trunks/carrier-a", `{"weight":9}`).want(200)
			return operator, "", "carrier-a"
		},
		"admin-trunks-remove": func(h *harness) (string, string, string) {
			trunk(h)
			h.admin("DELETE", "/v1/admin/trunks/carrier-a", "").want(200)
			return operator, "", "carrier-a"
		},
		"recording-hold": func(h *harness) (string, string, string) {
			id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
			h.own("PUT", "/calls/"+id+"/recording", `{"legal_hold":true}`).want(200)
			return "tok", "acme", id
		},
		"recording-delete": func(h *harness) (string, string, string) {
			id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
			h.own("DELETE", "/calls/"+id+"/recording", "").want(200)
			return "tok", "acme", id
		},
		"prompts-put": func(h *harness) (string, string, string) {
			h.own("PUT", "/prompts/hi/enter_pin", "RIFF", wav()).want(200)
			return "tok", "acme", "hi/enter_pin"
		},
		"prompts-delete": func(h *harness) (string, string, string) {
			h.own("PUT", "/prompts/hi/enter_pin", "RIFF", wav()).want(200)
			h.own("DELETE", "/prompts/hi/enter_pin", "").want(200)
			return "tok", "acme", "hi/enter_pin"
		},
		"blocked-callers-add": func(h *harness) (string, string, string) {
			h.own("POST", "/blocked-callers", `{"numbers":["`+alice+`","`+bob+`"]}`).want(201)
			return "tok", "acme", "+91…01 +91…02"
		},
		"blocked-callers-remove": func(h *harness) (string, string, string) {
			h.own("POST", "/blocked-callers", `{"numbers":["`+alice+`"]}`).want(201)
			h.own("DELETE", "/blocked-callers/"+alice, "").want(200)
			return "tok", "acme", "+91…01"
		},
		"erasures-create": func(h *harness) (string, string, string) {
			id := h.own("POST", "/erasures", `{"number":"`+alice+`"}`).want(201).text("erasure_id")
			return "tok", "acme", id
		},
		"settings-change": func(h *harness) (string, string, string) {
			h.own("PUT", "/settings", `{"ring_seconds":20}`).want(200)
			return "tok", "acme", ""
		},
	}
	maps.Copy(all, webhookDeeds())
	return all
}

// Whoever adds an operation that changes something finds it in the audit log, or
// says here why it is not.
func TestEveryOperationThatChangesSomethingIsInTheAuditLog(t *testing.T) {
	all := map[string]bool{}
	for _, item := range api.Declared().Paths {
		for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				all[op.OperationID] = true
			}
		}
	}
	covered := slices.Sorted(maps.Keys(deeds()))
	for _, id := range slices.Concat(covered, traffic(), questions()) {
		if !all[id] {
			t.Errorf("there is no operation %s", id)
		}
		delete(all, id)
	}
	for id := range all {
		t.Errorf("%s changes something, and no test says what the audit log tells of it", id)
	}
	for _, id := range covered {
		t.Run(id, func(t *testing.T) {
			h := newHarness(t)
			actor, tenant, object := deeds()[id](h)
			last := h.auditItems("")[0]
			if actor == "tok" {
				actor = h.tokenID()
			}
			got := fmt.Sprint(last["action"], last["actor"], last["tenant_id"], last["object"], last["outcome"])
			if want := fmt.Sprint(id, actor, orNil(tenant), orNil(object), "done"); got != want {
				t.Errorf("the last entry tells\n%s\nwant\n%s", got, want)
			}
			if request, _ := last["request_id"].(string); !strings.HasPrefix(request, "req_") {
				t.Errorf("request %q", request)
			}
			h.auditWhole()
		})
	}
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// tokenID is the id of the token that the tenant acme uses.
func (h *harness) tokenID() string {
	h.Helper()
	items := h.admin("GET", "/v1/admin/tenants/acme/tokens", "").want(200).fields["items"].([]any)
	return items[0].(map[string]any)["token_id"].(string)
}

// auditWhole checks the chain as somebody does who has the API alone, and that no
// entry holds a number in full or a secret.
func (h *harness) auditWhole() {
	h.Helper()
	var c masking.AuditCheck
	cursor, body := "", ""
	for {
		a := h.admin("GET", "/v1/admin/audit?order=oldest&limit=3&cursor="+cursor, "").want(200)
		body += a.body
		for _, item := range a.fields["items"].([]any) {
			if err := c.Next(entryOf(item.(map[string]any))); err != nil {
				h.Fatal(err)
			}
		}
		if cursor = a.text("next_cursor"); cursor == "" {
			break
		}
	}
	head := h.admin("GET", "/v1/admin/audit/head", "").want(200)
	last := c.Last()
	if head.text("hash") != hex.EncodeToString(last.Hash[:]) || head.fields["sequence"] != float64(last.Sequence) {
		h.Errorf("the head is %v, the last entry %d", head.fields, last.Sequence)
	}
	for _, secret := range []string{alice[1:], bob[1:], vn1[1:], h.token, adminToken, "never-told"} {
		if strings.Contains(body, secret) {
			h.Errorf("an entry holds %q", secret)
		}
	}
}

func entryOf(item map[string]any) masking.AuditEntry {
	text := func(name string) string { s, _ := item[name].(string); return s }
	hash := func(name string) (h [32]byte) {
		b, _ := hex.DecodeString(text(name))
		copy(h[:], b)
		return h
	}
	at, _ := time.Parse(time.RFC3339, text("time"))
	return masking.AuditEntry{Sequence: int64(item["sequence"].(float64)), At: at, Actor: text("actor"), Tenant: masking.TenantID(text("tenant_id")),
		Action: text("action"), Object: text("object"), Outcome: text("outcome"), Request: text("request_id"),
		Previous: hash("previous_hash"), Hash: hash("hash")}
}

func TestATenantsOwnTrafficIsNotInTheAuditLog(t *testing.T) {
	h := newHarness(t)
	before := h.auditSequence()
	id := h.create(vn1, alice, bob)
	h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+carol+`"]}`).want(200)
	h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+vn2+`"}`).want(200)
	h.own("PATCH", "/greenvn/"+id, `{"custom_field":"x"}`).want(200)
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	pin, _ := h.pin(shared1, alice, bob)
	h.own("PUT", "/greenpin/"+pin, `{"custom_field":"x"}`).want(200)
	h.own("PUT", "/greenpin", `[{"greenpin_id":"`+pin+`","custom_field":"y"}]`).want(200)
	h.own("POST", "/greenpin/"+pin+"/unlock", "").want(200)
	h.own("DELETE", "/greenpin/"+pin, "").want(200)
	if after := h.auditSequence(); after != before {
		t.Errorf("%v entries came", after-before)
	}
}

func TestWhoListensToARecordingIsInTheAuditLogBeforeHeDoes(t *testing.T) {
	h := newHarness(t)
	id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
	before := h.auditSequence()
	h.own("GET", "/calls/"+id+"/recording", "", header("X-Request-Id", "ask-a")).want(200)
	h.own("GET", "/calls/"+id+"/recording", "", header("Range", "bytes=0-3")).want(206)
	h.own("GET", "/calls/"+id+"/recording/info", "").want(200) // tells nothing of what was said
	items := h.auditItems("action=recording-get")
	if len(items) != 2 || h.auditSequence() != before+2 || items[1]["request_id"] != "ask-a" || items[1]["object"] != id || items[1]["actor"] != h.tokenID() {
		t.Errorf("the log tells %v", items)
	}
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := h.own("GET", "/calls/"+id+"/recording", ""); a.status != http.StatusServiceUnavailable || strings.Contains(a.body, theSound) {
		t.Errorf("without the log it sounds: %d %q", a.status, a.body)
	}
}

func TestWhatWasRefusedAsThingsAreIsInTheAuditLog(t *testing.T) {
	h := newHarness(t)
	id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
	h.own("PUT", "/calls/"+id+"/recording", `{"legal_hold":true}`).want(200)
	path := "/calls/" + id + "/recording"
	h.own("DELETE", path, "").refused(409, "recording_held", "")
	for range 2 { // the second is an answer that was kept
		h.own("DELETE", path, "", header("Idempotency-Key", "k1")).refused(409, "recording_held", "")
	}
	items := h.auditItems("action=recording-delete")
	if len(items) != 2 || items[0]["outcome"] != "recording_held" || items[0]["object"] != id {
		t.Errorf("the log tells %v", items)
	}
	h.own("DELETE", "/calls/call_0/recording", "").refused(404, "not_found", "") // nobody's: tells nothing
	if got := len(h.auditItems("action=recording-delete")); got != 2 {
		t.Errorf("%d entries", got)
	}
	h.auditWhole()
}

func TestARepeatedChangeIsInTheAuditLogOnce(t *testing.T) {
	h := newHarness(t)
	for range 3 {
		h.own("PUT", "/settings", `{"ring_seconds":20}`, header("Idempotency-Key", "k1")).want(200)
	}
	if items := h.auditItems("action=settings-change"); len(items) != 1 {
		t.Errorf("%d entries", len(items))
	}
}

func TestATenantReadsTheEntriesAboutHimAlone(t *testing.T) {
	h := newHarness(t)
	sid, token := h.tenant("other")
	h.own("PUT", "/settings", `{"ring_seconds":20}`).want(200)
	h.do("PUT", "/v1/tenants/other/settings", `{"ring_seconds":20}`, as(sid, token)).want(200)
	a := h.own("GET", "/audit", "").want(200)
	if strings.Count(a.body, `"action":"settings-change"`) != 1 || strings.Contains(a.body, `"other"`) || !strings.Contains(a.body, "admin-tenants-create") {
		t.Errorf("acme reads %s", a.body)
	}
	if !strings.Contains(a.body, `"time":"2024-06-15T10:30:00+05:30"`) {
		t.Errorf("not in his time zone: %s", a.body)
	}
	h.do("GET", "/v1/tenants/other/audit", "").refused(404, "not_found", "")
	h.do("GET", "/v1/admin/audit", "").refused(401, "unauthorized", "")
	h.pass(time.Hour)
	h.own("PUT", "/settings", `{"ring_seconds":21}`).want(200)
	if a := h.own("GET", "/audit?since=2024-06-15T11:00:00%2B05:30", "").want(200); strings.Count(a.body, `"sequence"`) != 1 {
		t.Errorf("since eleven: %s", a.body)
	}
	for _, query := range []string{"cursor=x", "since=yesterday", "order=best", "limit=0"} {
		h.own("GET", "/audit?"+query, "").want(400)
	}
	if one := h.admin("GET", "/v1/admin/audit?tenant_id=other&order=oldest&limit=1", "").want(200); !strings.Contains(one.body, "admin-tenants-create") || one.text("next_cursor") == "" {
		t.Errorf("the operator reads %s", one.body)
	}
}
