package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seen is what the server was asked.
type seen struct {
	method, uri, body, auth, key, media string
}

// serve answers every request alike and notes it.
func serve(t *testing.T, status int, body string, headers ...string) (*client.Client, *seen) {
	t.Helper()
	var last seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		last = seen{r.Method, r.URL.RequestURI(), string(b), r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type")}
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	transport := &http.Transport{}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	c, err := client.New(client.Options{BaseURL: server.URL + "/", AccountSID: "ac_1", Token: "tdm_1", AdminToken: "tda_1", HTTP: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return c, &last
}

const basicAuth, bearerAuth = "Basic YWNfMTp0ZG1fMQ==", "Bearer tda_1"

func TestEveryOperationAsksAsTheContractSays(t *testing.T) {
	c, last := serve(t, 200, `{"response":{}}`)
	ctx := t.Context()
	yes, hour, text := true, int64(3600), "x"
	when := time.Date(2024, 6, 15, 5, 0, 0, 0, time.UTC)
	for want, call := range map[seen]func() error{
		{"POST", "/v1/tenants/acme/greenvn", `{"caller_id_number":"+91","from":["a"],"to":["b"],"duration":60,"record":true,"custom_field":"f"}`, basicAuth, "k", "application/json"}: func() error {
			_, err := c.CreateAllocation(ctx, "acme", client.NewAllocation{CallerIDNumber: "+91", From: []string{"a"}, To: []string{"b"}, Duration: 60, Record: true, CustomField: "f"}, client.Key("k"))
			return err
		},
		{"GET", "/v1/tenants/acme/greenvn/gvn_1", "", basicAuth, "", ""}: func() error { _, err := c.Allocation(ctx, "acme", "gvn_1"); return err },
		{"GET", "/v1/tenants/acme/greenvn?cursor=c&limit=5&party=%2B91&status=active", "", basicAuth, "", ""}: func() error {
			_, err := c.Allocations(ctx, "acme", client.AllocationFilter{Page: client.Page{Limit: 5, Cursor: "c"}, Status: "active", Party: "+91"})
			return err
		},
		{"PUT", "/v1/tenants/acme/greenvn/gvn_1/call-party", `{"to":["b"]}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.UpdateParties(ctx, "acme", "gvn_1", client.Parties{To: []string{"b"}})
			return err
		},
		{"PUT", "/v1/tenants/acme/greenvn/gvn_1/vn", `{"caller_id_number":"+91"}`, basicAuth, "", "application/json"}: func() error { _, err := c.UpdateNumber(ctx, "acme", "gvn_1", "+91"); return err },
		{"PATCH", "/v1/tenants/acme/greenvn/gvn_1", `{"duration":3600,"record":true,"custom_field":"x"}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.PatchAllocation(ctx, "acme", "gvn_1", client.Patch{Duration: &hour, Record: &yes, CustomField: &text})
			return err
		},
		{"DELETE", "/v1/tenants/acme/greenvn/gvn_1?terminate_calls=true", "", basicAuth, "", ""}: func() error { _, err := c.DeleteAllocation(ctx, "acme", "gvn_1", true); return err },
		{"GET", "/v1/tenants/acme/numbers", "", basicAuth, "", ""}:                               func() error { _, err := c.Numbers(ctx, "acme", client.Page{}); return err },
		{"GET", "/v1/tenants/acme/calls?greenvn_id=g&since=2024-06-15T05%3A00%3A00Z&status=live", "", basicAuth, "", ""}: func() error {
			_, err := c.Calls(ctx, "acme", client.CallFilter{GreenVNID: "g", Status: "live", Since: when})
			return err
		},
		{"POST", "/v1/tenants/acme/greenpin", `{"caller_id_number":"+91","from":["a"],"max_pin_attempts":5}`, basicAuth, "k", "application/json"}: func() error {
			_, err := c.CreatePin(ctx, "acme", client.NewPin{CallerIDNumber: "+91", From: []string{"a"}, MaxPINAttempts: 5}, client.Key("k"))
			return err
		},
		{"GET", "/v1/tenants/acme/greenpin/gp_1", "", basicAuth, "", ""}: func() error { _, err := c.Pin(ctx, "acme", "gp_1"); return err },
		{"GET", "/v1/tenants/acme/greenpin?status=expired", "", basicAuth, "", ""}: func() error {
			_, err := c.Pins(ctx, "acme", client.AllocationFilter{Status: "expired"})
			return err
		},
		{"PUT", "/v1/tenants/acme/greenpin/gp_1", `{"to":["b"],"duration":3600}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.UpdatePin(ctx, "acme", "gp_1", client.PinChange{To: []string{"b"}, Duration: &hour})
			return err
		},
		{"PUT", "/v1/tenants/acme/greenpin", `[{"greenpin_id":"gp_1","record":true}]`, basicAuth, "", "application/json"}: func() error {
			_, err := c.UpdatePins(ctx, "acme", []client.PinItem{{GreenPinID: "gp_1", PinChange: client.PinChange{Record: &yes}}})
			return err
		},
		{"DELETE", "/v1/tenants/acme/greenpin/gp_1?terminate_calls=true", "", basicAuth, "", ""}: func() error { _, err := c.DeletePin(ctx, "acme", "gp_1", true); return err },
		{"POST", "/v1/tenants/acme/greenpin/gp_1/unlock", `{"caller":"+91"}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.UnlockPin(ctx, "acme", "gp_1", "+91")
			return err
		},
		{"GET", "/v1/tenants/acme/settings", "", basicAuth, "", ""}: func() error { _, err := c.Settings(ctx, "acme"); return err },
		{"PUT", "/v1/tenants/acme/settings", `{"pin_fallback":true,"stranger_policy":{"action":"pin"}}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.ChangeSettings(ctx, "acme", client.SettingsChange{PINFallback: &yes, StrangerPolicy: &client.StrangerPolicy{Action: "pin"}})
			return err
		},
		{"GET", "/v1/tenants/acme/calls/call_1/recording/info", "", basicAuth, "", ""}: func() error { _, err := c.Recording(ctx, "acme", "call_1"); return err },
		{"PUT", "/v1/tenants/acme/calls/call_1/recording", `{"legal_hold":true}`, basicAuth, "", "application/json"}: func() error {
			_, err := c.HoldRecording(ctx, "acme", "call_1", true)
			return err
		},
		{"DELETE", "/v1/tenants/acme/calls/call_1/recording", "", basicAuth, "", ""}: func() error { _, err := c.DeleteRecording(ctx, "acme", "call_1"); return err },
		{"GET", "/v1/tenants/acme/calls?greenpin_id=gp_1", "", basicAuth, "", ""}: func() error {
			_, err := c.Calls(ctx, "acme", client.CallFilter{GreenPinID: "gp_1"})
			return err
		},
		{"GET", "/v1/tenants/acme/calls/call_1", "", basicAuth, "", ""}: func() error { _, err := c.Call(ctx, "acme", "call_1"); return err },
		{"GET", "/v1/tenants/acme/events?until=2024-06-15T05%3A00%3A00Z", "", basicAuth, "", ""}: func() error {
			_, err := c.Events(ctx, "acme", client.EventFilter{Until: when})
			return err
		},
		{"POST", "/v1/admin/tenants", `{"tenant_id":"acme","name":"Acme","rate_limit":{"per_second":5,"burst":9}}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.CreateTenant(ctx, client.NewTenant{TenantID: "acme", TenantChange: client.TenantChange{Name: "Acme", RateLimit: &client.RateLimit{PerSecond: 5, Burst: 9}}})
			return err
		},
		{"GET", "/v1/admin/tenants", "", bearerAuth, "", ""}:      func() error { _, err := c.Tenants(ctx); return err },
		{"GET", "/v1/admin/tenants/acme", "", bearerAuth, "", ""}: func() error { _, err := c.Tenant(ctx, "acme"); return err },
		{"PUT", "/v1/admin/tenants/acme", `{"timezone":"UTC"}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.ChangeTenant(ctx, "acme", client.TenantChange{Timezone: "UTC"})
			return err
		},
		{"DELETE", "/v1/admin/tenants/acme", "", bearerAuth, "", ""}: func() error { return c.RemoveTenant(ctx, "acme") },
		{"POST", "/v1/admin/tenants/acme/tokens", `{"label":"ci"}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.CreateToken(ctx, "acme", "ci")
			return err
		},
		{"GET", "/v1/admin/tenants/acme/tokens", "", bearerAuth, "", ""}:          func() error { _, err := c.Tokens(ctx, "acme"); return err },
		{"DELETE", "/v1/admin/tenants/acme/tokens/tok_1", "", bearerAuth, "", ""}: func() error { return c.RevokeToken(ctx, "acme", "tok_1") },
		{"POST", "/v1/admin/tenants/acme/numbers", `{"numbers":[{"number":"+91","sharing":"shared"}]}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.AddNumbers(ctx, "acme", []client.NewNumber{{Number: "+91", Sharing: "shared"}})
			return err
		},
		{"GET", "/v1/admin/tenants/acme/numbers?limit=2", "", bearerAuth, "", ""}: func() error { _, err := c.NumbersOf(ctx, "acme", client.Page{Limit: 2}); return err },
		{"PUT", "/v1/admin/tenants/acme/numbers/+91", `{"region":"x"}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.ChangeNumber(ctx, "acme", "+91", client.NumberChange{Region: &text})
			return err
		},
		{"DELETE", "/v1/admin/tenants/acme/numbers/+91", "", bearerAuth, "", ""}: func() error { return c.RemoveNumber(ctx, "acme", "+91") },
		{"POST", "/v1/admin/trunks", `{"name":"a","targets":["192.0.2.1:5060"],"country":"x"}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.CreateTrunk(ctx, client.NewTrunk{Name: "a", TrunkSettings: client.TrunkSettings{Targets: []string{"192.0.2.1:5060"}, Country: &text}})
			return err
		},
		{"GET", "/v1/admin/nodes", "", bearerAuth, "", ""}:        func() error { _, err := c.Nodes(ctx); return err },
		{"GET", "/v1/admin/trunks", "", bearerAuth, "", ""}:       func() error { _, err := c.Trunks(ctx); return err },
		{"GET", "/v1/admin/trunks/a%2Fb", "", bearerAuth, "", ""}: func() error { _, err := c.Trunk(ctx, "a/b"); return err },
		{"PUT", "/v1/admin/trunks/a", `{}`, bearerAuth, "", "application/json"}: func() error {
			_, err := c.ChangeTrunk(ctx, "a", client.TrunkSettings{})
			return err
		},
		{"DELETE", "/v1/admin/trunks/a", "", bearerAuth, "", ""}:                   func() error { return c.RemoveTrunk(ctx, "a") },
		{"GET", "/v1/admin/calls", "", bearerAuth, "", ""}:                         func() error { _, err := c.LiveCalls(ctx, client.Page{}); return err },
		{"DELETE", "/v1/admin/tenants/acme/greenvn/gvn_1", "", bearerAuth, "", ""}: func() error { _, err := c.EndAllocation(ctx, "acme", "gvn_1", false); return err },
	} {
		if err := call(); err != nil || *last != want {
			t.Errorf("asked %+v, want %+v (%v)", *last, want, err)
		}
	}
}

// Every request field of the client is one that the document knows for that
// body, and every response field one that some answer has.
func TestTheClientsFieldsAreThoseOfTheDocument(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	readDocument(t, &doc)
	for name, v := range map[string]any{
		"CreateBody": client.NewAllocation{}, "PreferencesBody": client.Preferences{}, "PartiesBody": client.Parties{}, "PatchBody": client.Patch{},
		"NewTenantBody": client.NewTenant{}, "TenantBody": client.TenantChange{}, "NewNumberBody": client.NewNumber{}, "ChangeNumberBody": client.NumberChange{},
		"NewTrunkBody": client.NewTrunk{}, "TrunkBody": client.TrunkSettings{}, "CallRecord": client.CallRecord{}, "CallLeg": client.CallLeg{}, "CallQuality": client.Quality{}, "LegQuality": client.LegQuality{},
		"EventRecord": client.Event{}, "PoolNumber": client.Number{}, "Tenant": client.Tenant{}, "Token": client.Token{}, "Trunk": client.Trunk{}, "Node": client.Node{}, "CallTally": client.Tally{},
		"NewPinBody": client.NewPin{}, "PinUpdateBody": client.PinChange{}, "PinItemBody": client.PinItem{}, "PinResult": client.PinResult{}, "PinError": client.PinError{},
		"SettingsShown": client.Settings{}, "SettingsBody": client.SettingsChange{}, "StrangerPolicy": client.StrangerPolicy{}, "RecordingInfo": client.Recording{}, "PINs": client.PINs{},
	} {
		schema := doc.Components.Schemas[name]
		if len(schema.Properties) == 0 {
			t.Errorf("the document has no %s", name)
		}
		each(reflect.TypeOf(v), func(field string) {
			if _, ok := schema.Properties[field]; !ok {
				t.Errorf("%s has no field %s", name, field)
			}
		})
	}
}

func each(t reflect.Type, visit func(string)) {
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			each(t.Field(i).Type, visit)
			continue
		}
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		visit(name)
	}
}

func TestAnAnswerIsReadOutOfItsEnvelope(t *testing.T) {
	c, _ := serve(t, 200, `{"response":{"greenvn_id":"gvn_1","from":["a"],"call_count":3,"calls":{"attempted":3,"connected":2,"talk_seconds":9}}}`)
	a, err := c.Allocation(t.Context(), "acme", "gvn_1")
	if err != nil || a.GreenVNID != "gvn_1" || a.CallCount != 3 || a.Calls.TalkSeconds != 9 || len(a.From) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestARefusalIsAnErrorWithAllThatWasSaid(t *testing.T) {
	c, _ := serve(t, 409, `{"error":{"code":"no_number_available","message":"none","field":"f","request_id":"req_1"}}`, "Retry-After", "60")
	_, err := c.CreateAllocation(t.Context(), "acme", client.NewAllocation{})
	var refused *client.Error
	if !errors.As(err, &refused) || !reflect.DeepEqual(*refused, client.Error{Status: 409, Code: "no_number_available", Message: "none", Field: "f", RequestID: "req_1", RetryAfter: time.Minute}) {
		t.Errorf("%#v", err)
	}
	c, _ = serve(t, 502, `<html>bad gateway</html>`, "X-Request-Id", "r")
	if _, err = c.Tenants(t.Context()); !errors.As(err, &refused) || refused.Status != 502 || refused.Code != "" || refused.RequestID != "r" {
		t.Errorf("%#v", err)
	}
	c, _ = serve(t, 200, `<html>hello</html>`)
	if _, err = c.Tenants(t.Context()); err == nil || errors.As(err, &refused) && refused.Status == 200 {
		t.Errorf("a page of another server is taken: %v", err)
	}
}

func TestWhatCannotBeAskedIsRefusedAtHome(t *testing.T) {
	for _, base := range []string{"", "localhost:8080", "ftp://x", "http://", "://"} {
		if _, err := client.New(client.Options{BaseURL: base}); err == nil {
			t.Errorf("%q is taken for a server", base)
		}
	}
	c, err := client.New(client.Options{BaseURL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tenants(t.Context()); err == nil || !strings.Contains(err.Error(), "admin token") {
		t.Errorf("without an admin token: %v", err)
	}
	if _, err := c.Numbers(t.Context(), "acme", client.Page{}); err == nil || !strings.Contains(err.Error(), "account SID") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestATransportErrorDoesNotTellTheNumberInItsURL(t *testing.T) {
	c, _ := serve(t, 200, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Allocations(ctx, "acme", client.AllocationFilter{Party: "+919900000001"})
	if err == nil || strings.Contains(err.Error(), "9900000001") || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestARecordingIsSavedAsItComes(t *testing.T) {
	sound := strings.Repeat("RIFF", 100_000)
	c, last := serve(t, 200, sound, "Content-Type", "audio/wav")
	var to strings.Builder
	if n, err := c.SaveRecording(t.Context(), "acme", "call_1", &to); err != nil || int(n) != len(sound) || to.String() != sound {
		t.Errorf("%d of %d bytes, %v", n, len(sound), err)
	}
	if want := (seen{"GET", "/v1/tenants/acme/calls/call_1/recording", "", basicAuth, "", ""}); *last != want {
		t.Errorf("asked %+v, want %+v", *last, want)
	}
	c, _ = serve(t, 409, `{"error":{"code":"recording_not_ready","message":"not yet","request_id":"req_1"}}`, "Retry-After", "5")
	to.Reset()
	var refused *client.Error
	if _, err := c.SaveRecording(t.Context(), "acme", "call_1", &to); !errors.As(err, &refused) || refused.Code != "recording_not_ready" || refused.RetryAfter != 5*time.Second || to.Len() != 0 {
		t.Errorf("%v, wrote %q", err, to.String())
	}
	c, _ = serve(t, 200, `{"response":{}}`, "Content-Type", "application/json")
	if _, err := c.SaveRecording(t.Context(), "acme", "call_1", &to); err == nil || to.Len() != 0 {
		t.Errorf("what is no sound is saved: %v, %q", err, to.String())
	}
}

func TestNothingOfAnAnswerIsLostOnTheWay(t *testing.T) {
	c, _ := serve(t, 200, `{"response":{"items":[{"id":"evt_1","data":{"n":1.50,"s":"<&>"}}],"next_cursor":"c"}}`)
	l, err := c.Events(t.Context(), "acme", client.EventFilter{})
	if err != nil || l.NextCursor != "c" || len(l.Items) != 1 || !json.Valid(l.Items[0].Data) || string(l.Items[0].Data) != `{"n":1.50,"s":"<&>"}` {
		t.Errorf("%+v, %v", l, err)
	}
}

func readDocument(t *testing.T, into any) {
	t.Helper()
	b, err := os.ReadFile("../../api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}
