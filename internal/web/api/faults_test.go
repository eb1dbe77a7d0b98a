package api_test

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tandem/internal/web/api"
)

// A hook that panics stands for any fault of ours.
func TestAFaultOfOursIs500AndItsCauseIsNotTold(t *testing.T) {
	h := newHarness(t)
	var observed []string
	handler, err := api.New(api.Options{Plane: h.plane, AdminToken: adminToken, Clock: h.clock, Random: rand.Reader,
		Log:         slog.New(slog.NewJSONHandler(h.logs, nil)),
		TrunkHealth: func(string) any { panic("dialling " + alice) },
		Observe: func(operation string, status int, took time.Duration) {
			observed = append(observed, operation+" "+http.StatusText(status))
		}})
	if err != nil {
		t.Fatal(err)
	}
	h.admin("POST", "/v1/admin/trunks", `{"name":"a","targets":["192.0.2.1:5060"],"country":"IN"}`).want(201)
	r := httptest.NewRequest("GET", "/v1/admin/trunks/a", nil)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"code":"internal_error"`) || !strings.Contains(w.Body.String(), `"request_id":"req_`) {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String()+h.logs.String(), "9900000001") {
		t.Error("the panic's value is told")
	}
	if !strings.Contains(h.logs.String(), `"msg":"panic"`) || !strings.Contains(h.logs.String(), "trunks.go") {
		t.Errorf("the log does not say where: %s", h.logs)
	}
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/nothing", nil))
	if want := "admin-trunks-get Internal Server Error,none Not Found"; strings.Join(observed, ",") != want {
		t.Errorf("observed %q, want %q", observed, want)
	}
}

func TestOptionsThatWouldFailLaterAreRefused(t *testing.T) {
	if _, err := api.New(api.Options{}); err == nil {
		t.Error("no options at all are taken")
	}
	h := newHarness(t)
	if _, err := api.New(api.Options{Plane: h.plane, Clock: time.Now, Random: &bytes.Buffer{}, Log: slog.Default()}); err == nil {
		t.Error("an API without an admin token is taken")
	}
}

func TestOneLineARequestIsLogged(t *testing.T) {
	h := newHarness(t)
	before := strings.Count(h.logs.String(), `"msg":"request"`)
	h.create(vn1, alice, bob)
	h.own("GET", "/nothing", "")
	h.own("GET", "/greenvn", "", as("x", "y"))
	if got := strings.Count(h.logs.String(), `"msg":"request"`) - before; got != 3 {
		t.Errorf("%d lines of 3 requests", got)
	}
	for _, want := range []string{`"method":"POST","operation":"greenvn-create","status":201`, `"operation":"none","status":404`, `"operation":"greenvn-list","status":401`, `"tenant":"acme"`} {
		if !strings.Contains(h.logs.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
}

// The document and the program agree on the release only in what is served.
func TestTheServedDocumentTellsTheRelease(t *testing.T) {
	h := newHarness(t)
	handler, err := api.New(api.Options{Plane: h.plane, AdminToken: adminToken, Clock: h.clock, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	if !strings.Contains(w.Body.String(), `"x-release": "1.2.3"`) {
		t.Error("no x-release")
	}
}
